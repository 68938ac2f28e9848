//! Addresses of files on servers: their parts, and how they are shown.

/// The positions of the parts of `SCHEME://USER@SERVER/FILE?QUERY:PART[FROM:TO]`. A question mark is only that of a query on a web
/// server: in a bucket, whose files can be listed, it is any character of a pattern.
pub(super) struct Address<'a> {
    spec: &'a str,
    /// Where the name of the server begins.
    server: usize,
    /// Where the query begins, with its question mark; where the range does if there is none.
    query: usize,
    /// Where the query ends.
    end: usize,
    /// Where the range begins; the end of all if there is none.
    range: usize,
}

impl<'a> Address<'a> {
    /// The address in `spec`; `None` for another name.
    pub fn of(spec: &'a str) -> Option<Self> {
        let (scheme, rest) = spec.split_once("://")?;
        if scheme.len() < 2 || !scheme.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let start = scheme.len() + 3;
        let server = start + user(rest);
        let range = spec.len() - range(spec).len();
        let named = &spec[..range];
        let asked = named[server..].find('?').filter(|_| !matches!(scheme, "s3" | "gs"));
        let query = asked.map_or(range, |at| server + at);
        // A colon can be in the value of any variable, but a part has neither `&` nor `=`.
        let last = named[query..].rfind(['&', '=']).map_or(query, |at| query + at);
        let end = named[last..].find(':').map_or(range, |at| last + at);
        Some(Self { spec, server, query, end, range })
    }

    /// Where the address may end in `ADDRESS` or `ADDRESS:PART`. A colon can belong to the name, but not to the last value of a query.
    #[cfg(feature = "remote")]
    pub fn ends(&self) -> Vec<usize> {
        if !self.query().is_empty() {
            return vec![self.end];
        }
        let file = self.spec[self.server..].find('/').map_or(self.spec.len(), |at| self.server + at);
        let colons = self.spec[file..].match_indices(':').map(|(at, _)| file + at);
        [self.spec.len()].into_iter().chain(colons).collect()
    }

    /// The position of the slash after the name of the server or bucket; `None` if no file is named.
    #[cfg(feature = "remote")]
    pub fn slash(&self) -> Option<usize> {
        let file = self.spec[self.server..self.query].find('/').filter(|at| *at > 0)? + self.server;
        (file + 1 < self.query).then_some(file)
    }

    /// The query, with its question mark.
    #[cfg(feature = "remote")]
    pub fn query(&self) -> &'a str {
        &self.spec[self.query..self.end]
    }

    /// The address without the password and the query.
    fn shown(&self) -> String {
        let Self { spec, server, query, end, range } = *self;
        let scheme = spec.find("://").map_or(0, |at| at + 3);
        [&spec[..scheme], &spec[server..query], &spec[end..range], &spec[range..]].concat()
    }
}

/// The length of the user and the password in `USER:PASSWORD@SERVER/FILE`. A password may contain a slash.
fn user(rest: &str) -> usize {
    let server = &rest[..rest.find('/').unwrap_or(rest.len())];
    let is_port = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let until = match server.rsplit_once(':') {
        _ if server.contains('@') => server.len(),
        Some((_, port)) if is_port(port) => rest.find('?').unwrap_or(rest.len()),
        Some(_) => rest.len(),
        None => 0,
    };
    rest[..until].rfind('@').map_or(0, |at| at + 1)
}

/// The `[FROM:TO]` at the end of a name; empty if there is none.
fn range(spec: &str) -> &str {
    let limits =
        spec.strip_suffix(']').and_then(|spec| spec.rsplit_once('[')).and_then(|(_, range)| range.split_once(':'));
    let is_limit = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match limits {
        Some((from, to)) if is_limit(from) && is_limit(to) => &spec[spec.len() - from.len() - to.len() - 3..],
        _ => "",
    }
}

/// Whether a name is the address of a file on a server.
pub(crate) fn is_address(spec: &str) -> bool {
    Address::of(spec).is_some()
}

/// The name of data in messages: without the password of an address, and without its query, which can be a signature. What follows
/// the query, a part or a range, is kept.
pub(crate) fn without_secrets(spec: &str) -> String {
    Address::of(spec).map_or_else(|| spec.into(), |address| address.shown())
}

/// [`without_secrets`] for the addresses in a word, such as `--data=ADDRESS`, or a list of names.
#[cfg(any(feature = "cli", feature = "remote"))]
pub(crate) fn word_without_secrets(word: &str) -> String {
    let one = |text: &str| {
        let scheme = text.find("://").unwrap_or(0);
        let start = text[..scheme].trim_end_matches(|c: char| c.is_ascii_alphanumeric()).len();
        text[..start].to_string() + &without_secrets(&text[start..])
    };
    let mut names: Vec<String> = Vec::new();
    for piece in word.split(',') {
        match names.last_mut() {
            // A comma in an address.
            Some(name) if name.contains("://") && !is_address(piece.trim_start_matches(['"', '\'', ' '])) => {
                *name += &format!(",{piece}")
            }
            _ => names.push(piece.into()),
        }
    }
    names.iter().map(|name| one(name)).collect::<Vec<_>>().join(",")
}

/// [`without_secrets`] for the addresses in a text.
#[cfg(any(feature = "cli", feature = "remote"))]
pub(crate) fn text_without_secrets(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || ")>\"'.,;".contains(c);
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        let bare = word.trim_end_matches(ends);
        word_without_secrets(bare) + &word[bare.len()..]
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_secrets() {
        for (spec, shown) in [
            ("https://me:secret@h/x.npy?signature=1", "https://h/x.npy"),
            ("https://me:sec?ret@h/x.npy", "https://h/x.npy"),
            ("https://me:pa/ss@h/x", "https://h/x"),
            ("https://me:pa/s?s@h/x:a", "https://h/x:a"),
            ("https://me:12/34@h/x", "https://h/x"),
            ("http://h:80/x?mail=a@b", "http://h:80/x"),
            ("s3://key:secret@b/x", "s3://b/x"),
            ("https://h/x@2.npy", "https://h/x@2.npy"),
            ("https://h/x.npz?signature=1:images[0:9]", "https://h/x.npz:images[0:9]"),
            ("https://h/x.npy?signature=1[0:9]", "https://h/x.npy[0:9]"),
            ("https://h/x.npy?signature=1[:]", "https://h/x.npy[:]"),
            ("https://h/x.npy?se=2026-01-01T00:00:00Z&sig=SECRET", "https://h/x.npy"),
            ("https://h/x.npz?se=2026-01-01T00:00:00Z&sig=SECRET:a[5:]", "https://h/x.npz:a[5:]"),
            ("https://h/x.npy?f[a]=1&token=SECRET", "https://h/x.npy"),
            ("https://h/x.npy?token=SECRET[1]", "https://h/x.npy"),
            ("https://h/x.npy?SECRET", "https://h/x.npy"),
            ("s3://b/x-?.npy[1:2]", "s3://b/x-?.npy[1:2]"),
            ("x-?.npy", "x-?.npy"),
            ("x.npy[0:9]", "x.npy[0:9]"),
        ] {
            assert_eq!(without_secrets(spec), shown);
        }
    }

    #[cfg(any(feature = "cli", feature = "remote"))]
    #[test]
    fn words_and_texts_keep_secrets() {
        let options = "--data=https://me:a@h/x?s=a,b(c --mask block:0.3,https://h/m?s=1 data=s3://k:e@b/x,\"https://k:f@h/y '-1,2'";
        let shown = "--data=https://h/x --mask block:0.3,https://h/m data=s3://b/x,\"https://h/y '-1,2'";
        assert_eq!(text_without_secrets(options), shown);
        let cause = "error for url (https://me:sec(ret@h/x?sig=a)b'c), in 2 s";
        assert_eq!(text_without_secrets(cause), "error for url (https://h/x), in 2 s");
    }

    #[cfg(feature = "remote")]
    #[test]
    fn a_part_follows_a_query() {
        let divided = |spec: &str| {
            let address = Address::of(spec).unwrap();
            let ends: Vec<String> = address.ends().iter().map(|end| spec[*end..].to_string()).collect();
            (address.query().to_string(), ends.join(" "))
        };
        let both = |query: &str, ends: &str| (query.to_string(), ends.to_string());
        assert_eq!(divided("https://h/p.tar?download=true:cats"), both("?download=true", ":cats"));
        assert_eq!(divided("https://h/p.tar?a=b%3Ac"), both("?a=b%3Ac", ""));
        assert_eq!(divided("https://h:80/p.tar:cats"), both("", " :cats"));
        assert_eq!(divided("https://h/p?t=0:0:1&sig=a=:cats"), both("?t=0:0:1&sig=a=", ":cats"));
        assert_eq!(divided("https://h/p?f[a]=1"), both("?f[a]=1", ""));
        assert_eq!(divided("s3://b/p-?.npz:a"), both("", " :a"));
    }
}
