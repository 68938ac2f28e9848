//! Which columns of a table are read, and how.

use std::collections::HashSet;

use super::super::options::{Missing, ReadOptions};
use super::super::{Categories, Columns, Kind, Origin};
use super::Table;
use super::profile::{MOST_CATEGORIES, Profile};
use crate::text::count;
use crate::{Error, Result};

/// The number of categories in a message.
const MOST_NAMES: usize = 6;

/// A column to read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub column: usize,
    /// The categories of a column of text; `None` for numbers.
    pub categories: Option<Vec<String>>,
}

impl Chosen {
    /// The number of values of a sample.
    pub fn width(&self) -> usize {
        self.categories.as_ref().map_or(1, Vec::len)
    }
}

impl Table<'_> {
    /// Whether the options allow columns of categories.
    fn takes_categories(options: &ReadOptions) -> bool {
        options.window.is_none() && matches!(options.kind, None | Some(Kind::Table))
    }

    /// Whether a column of text has so few different ones that they are categories.
    fn is_categorical(&self, profile: &Profile) -> bool {
        let few = |categories: &Vec<String>| categories.len() > 1 && 2 * categories.len() <= self.rows;
        profile.is_text() && profile.categories().as_ref().is_some_and(few)
    }

    /// Whether the first column contains the names of groups of rows rather than categories: it is text, and there is no
    /// other column of categories.
    pub fn is_grouped(&self, group: Option<&str>, options: &ReadOptions, known: &Columns) -> Result<bool> {
        let first = &self.columns[0];
        if self.width == 1 || !(first.is_text() || (group.is_some() && first.is_dates())) {
            return Ok(false);
        }
        if self.label(options) == Some(0) {
            return Ok(false);
        }
        if group.is_some() || !Self::takes_categories(options) {
            return Ok(true);
        }
        let stated = options.columns.iter().chain(&options.categories);
        let named = stated.map(|name| self.find(name)).collect::<Result<Vec<_>>>()?.contains(&0);
        let known = self.known(0, known).is_some();
        let asked = named || options.kind == Some(Kind::Table) || known;
        let others = self.columns[1..].iter().any(|profile| self.is_categorical(profile));
        Ok(!((asked || others) && (named || known || self.is_categorical(first))))
    }

    /// The known categories of a column, which may have the name of another one.
    fn known<'a>(&self, column: usize, known: &'a Columns) -> Option<&'a Categories> {
        let name = self.written_name(column);
        let before = (0..column).filter(|&i| self.columns[i].is_text() && self.written_name(i) == name).count();
        known.categories.iter().filter(|categories| categories.name == name).nth(before)
    }

    /// The column of labels, which is left out unless the columns are stated. Generated tables do not have it.
    fn label(&self, options: &ReadOptions) -> Option<usize> {
        options.label.as_ref().filter(|_| options.columns.is_empty()).and_then(|name| self.find(name).ok())
    }

    /// The columns to read, and what was left out.
    pub fn chosen(
        &self,
        options: &ReadOptions,
        known: &Columns,
        grouped: bool,
        origin: &mut Origin,
    ) -> Result<Vec<Chosen>> {
        let mut dropped = options.drop_columns.iter().map(|name| self.find(name)).collect::<Result<HashSet<_>>>()?;
        if let Some(label) = self.label(options)
            && dropped.insert(label)
        {
            let text = format!("{} contains the labels and is not a value of the samples", self.title(label));
            origin.choice(text, "--columns with its name reads it as a value, too");
        }
        let coded = options.categories.iter().map(|name| self.find(name)).collect::<Result<HashSet<_>>>()?;
        let is_category = |column: usize| {
            self.columns[column].is_text() || coded.contains(&column) || self.known(column, known).is_some()
        };
        let number = |column| Chosen { column, categories: None };
        let stated = |column: usize, origin: &mut Origin| match is_category(column) {
            true => self.stated_categories(column, options, known, origin),
            false => Ok(number(column)),
        };
        if !options.columns.is_empty() {
            let wanted = options.columns.iter().map(|name| self.find(name)).collect::<Result<Vec<_>>>()?;
            let wanted = wanted.into_iter().filter(|column| !dropped.contains(column));
            return wanted.map(|column| stated(column, origin)).collect();
        }
        if let Some(named) = self.columns_of(known, &dropped, origin) {
            return named.into_iter().map(|column| stated(column, origin)).collect();
        }
        let mut chosen = Vec::new();
        for (column, profile) in self.columns.iter().enumerate().filter(|(column, _)| !dropped.contains(column)) {
            match profile {
                _ if column == 0 && grouped => {}
                _ if coded.contains(&column) => chosen.push(self.stated_categories(column, options, known, origin)?),
                // A column of gaps. Its categories are those of the other data.
                _ if profile.is_empty() && options.missing == Some(Missing::Keep) => {
                    let categories = self.known(column, known).map(|known| known.values.clone());
                    chosen.push(Chosen { column, categories });
                }
                _ if self.is_left_out(column, origin) => {}
                _ if is_category(column) => chosen.extend(self.text(column, options, known, origin)),
                _ => {
                    if column == 0 && profile.counts_rows() && self.rows > 2 && self.width > 1 {
                        let drop = format!("--drop-columns {}", self.option_name(column));
                        origin.choice(format!("{} counts the rows, but is read as values", self.title(column)), drop);
                    }
                    chosen.push(number(column));
                }
            }
        }
        Ok(chosen)
    }

    /// Whether a column has no values of samples, which is noted: an empty one, dates, or an index.
    fn is_left_out(&self, column: usize, origin: &mut Origin) -> bool {
        let profile = &self.columns[column];
        let unnamed = self
            .header
            .as_ref()
            .is_some_and(|header| header[column].is_empty() || (column == 0 && header[column].starts_with("Unnamed:")));
        if profile.is_empty() {
            let last = column + 1 == self.width && (unnamed || self.header.is_none());
            let what = if last { "the last column".into() } else { self.title(column) };
            origin.note(format!("{what} is empty and is left out"));
            return true;
        }
        if profile.is_dates() {
            origin.note(format!("{} contains dates or times and is left out", self.title(column)));
            return true;
        }
        let index = column == 0 && unnamed && profile.counts_rows() && self.width > 1;
        if index {
            let readable = |column: &usize| {
                let profile = &self.columns[*column];
                !profile.is_dates() && !profile.is_empty() && !profile.is_text()
            };
            let others = (1..self.width).filter(readable).map(|i| self.option_name(i)).collect::<Vec<_>>().join(",");
            let all = if self.width > 12 { "--columns 1,...".into() } else { format!("--columns 1,{others}") };
            origin.choice("the first column has no name and counts the rows; it is left out", all);
        }
        index
    }

    /// The columns with the names of `known` ones, in their order; `None` if there are no names, or other ones.
    fn columns_of(&self, known: &Columns, dropped: &HashSet<usize>, origin: &mut Origin) -> Option<Vec<usize>> {
        let header = self.header.as_ref().filter(|_| !known.names.is_empty())?;
        let name = |group: usize| match known.categories_at(group) {
            Some(categories) => (categories.first == group).then_some(&categories.name),
            None => Some(&known.names[group]),
        };
        let wanted: Vec<&String> = (0..known.names.len()).filter_map(name).collect();
        let place = |name: &&String| {
            let mut places = (0..self.width).filter(|&i| header[i] == **name && !dropped.contains(&i));
            places.next().filter(|_| places.next().is_none())
        };
        let found: Vec<usize> = wanted.iter().filter_map(place).collect();
        if found.len() < wanted.len() || (1..found.len()).any(|i| found[..i].contains(&found[i])) {
            return None;
        }
        let others: Vec<String> =
            (0..self.width).filter(|i| !found.contains(i) && !dropped.contains(i)).map(|i| self.title(i)).collect();
        if !found.is_sorted() {
            origin.note("the columns are taken by their names, in the order of the data that they are compared with");
        }
        if !others.is_empty() {
            origin.note(format!("the other data do not have {}, which is left out", others.join(", ")));
        }
        Some(found)
    }

    /// A column of text: categories, or left out.
    fn text(&self, column: usize, options: &ReadOptions, known: &Columns, origin: &mut Origin) -> Option<Chosen> {
        let (title, profile) = (self.title(column), &self.columns[column]);
        let categories = profile.categories();
        let number = categories.as_ref().map_or(format!("more than {MOST_CATEGORIES}"), |all| all.len().to_string());
        if !Self::takes_categories(options) {
            origin.note(format!("{title} is text and is left out; only tables have columns of categories"));
            return None;
        }
        match (self.known(column, known), categories) {
            (Some(known), _) => Some(self.noted(column, known.values.clone(), origin)),
            (None, Some(categories)) if self.is_categorical(profile) => Some(self.noted(column, categories, origin)),
            (None, Some(categories)) if categories.len() == 1 => {
                origin.note(format!("{title} contains only {:?} and is left out", categories[0]));
                None
            }
            (None, categories) => {
                let text = format!("{title} is text with {number} different values and is left out");
                match categories {
                    Some(_) => origin.choice(text, "--columns with its name reads them as categories"),
                    None => origin.note(text),
                }
                None
            }
        }
    }

    /// A column of text that an option names.
    fn stated_categories(
        &self,
        column: usize,
        options: &ReadOptions,
        known: &Columns,
        origin: &mut Origin,
    ) -> Result<Chosen> {
        let refused = |why: &str| {
            let text = if self.columns[column].is_text() { " is text and" } else { "" };
            Err(Error::setting(format!("{}: {}{text} cannot be read {why}", self.name, self.title(column))))
        };
        if !Self::takes_categories(options) {
            return refused(
                "here: only tables without --window have columns of categories; omit it from --columns and --categories",
            );
        }
        match (self.known(column, known), self.columns[column].categories()) {
            (Some(known), _) => Ok(self.noted(column, known.values.clone(), origin)),
            (None, Some(categories)) => Ok(self.noted(column, categories, origin)),
            (None, None) => refused(&format!("as categories: it has more than {MOST_CATEGORIES} different values")),
        }
    }

    fn noted(&self, column: usize, categories: Vec<String>, origin: &mut Origin) -> Chosen {
        let more = if categories.len() > MOST_NAMES { ", ..." } else { "" };
        let names = categories.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
        let what = if categories.len() == 1 { "category" } else { "categories" };
        let is = if self.columns[column].is_text() { "is text with" } else { "is read as numeric codes of" };
        origin.choice(
            format!("{} {is} {} {what} ({names}{more})", self.title(column), categories.len()),
            format!("--drop-columns {}", self.option_name(column)),
        );
        Chosen { column, categories: Some(categories) }
    }

    /// Notes the missing values of columns of categories that are replaced by the most frequent category.
    pub fn note_replaced(&self, chosen: &[Chosen], origin: &mut Origin) {
        for Chosen { column, .. } in chosen.iter().filter(|chosen| chosen.categories.is_some()) {
            let profile = &self.columns[*column];
            if let (1.., Some(category)) = (profile.missing, profile.most_frequent()) {
                let missing = count(profile.missing, "missing value");
                let title = self.title(*column);
                origin.replaced = true;
                origin.choice(
                    format!("{missing} of {title} are replaced by its most frequent category, {category}"),
                    "--missing drop",
                );
            }
        }
    }
}
