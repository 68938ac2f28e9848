//! Settings as TOML tables.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::nearest;

/// Settings as a TOML table.
pub(super) fn to_table<T: Serialize>(settings: &T) -> toml::Table {
    toml::Table::try_from(settings).expect("settings are a table")
}

/// The message of a TOML error without line breaks.
pub(super) fn one_line(e: &toml::de::Error) -> String {
    let mut text = e.to_string().trim().replace('\n', " ");
    // serde names the types of Rust.
    for (types, name) in [(&["u32", "u64", "usize"][..], "a whole number of 0 or more"), (&["f64", "f32"], "a number")]
    {
        for kind in types {
            if let Some((before, after)) = text.split_once(&format!("expected {kind}"))
                && !after.starts_with(char::is_alphanumeric)
            {
                text = format!("{before}expected {name}{after}");
            }
        }
    }
    text + &did_you_mean(&e.to_string())
}

/// The known field that may be meant by an unknown one, as ", did you mean `lr`?".
fn did_you_mean(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = message.contains("unknown field `").then_some(&quoted[..]);
    let meant = match unknown {
        Some([field, known @ ..]) => nearest(field, known.iter().copied()),
        _ => None,
    };
    meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The settings in a table by their full names, such as `model.width`.
pub(super) fn leaves(table: &toml::Table) -> BTreeMap<String, toml::Value> {
    let mut found = BTreeMap::new();
    for (name, value) in table {
        match value {
            // The learning rate schedule is a single setting.
            toml::Value::Table(inner) if name != "decay" => {
                found.extend(leaves(inner).into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)));
            }
            _ => drop(found.insert(name.clone(), value.clone())),
        }
    }
    found
}

/// Inserts a value into a table by its full name as in [`leaves`]. Values in place of the tables on the way are replaced.
pub(super) fn insert(table: &mut toml::Table, name: &str, value: toml::Value) {
    let Some((first, rest)) = name.split_once('.') else {
        table.insert(name.into(), value);
        return;
    };
    let mut inner = match table.remove(first) {
        Some(toml::Value::Table(inner)) => inner,
        _ => toml::Table::new(),
    };
    insert(&mut inner, rest, value);
    table.insert(first.into(), inner.into());
}
