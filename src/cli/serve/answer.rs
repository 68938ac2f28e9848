//! Requests and answers. Only programs on this machine are answered, only files of runs are read, nothing is written.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use crate::train::{RunView, find_runs};
use oxhttp::model::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS,
};
use oxhttp::model::{Body, HeaderName, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{DEPTH, describe};

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/page.js");
const ICON: &str = include_str!("page/icon.svg");

/// What a browser may load for the page: its own files, from this address. A picture loads nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The folder that is served.
pub struct Site {
    /// Without symbolic links.
    root: PathBuf,
    /// As the user named it.
    name: String,
    port: u16,
}

/// The content of an answer and its type, or why there is none.
type Answer = Result<(Cow<'static, [u8]>, &'static str), Refusal>;

/// A status and its explanation.
#[derive(Debug)]
pub struct Refusal(StatusCode, String);

impl From<crate::Error> for Refusal {
    fn from(e: crate::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())
    }
}

impl From<std::io::Error> for Refusal {
    fn from(e: std::io::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())
    }
}

fn missing(what: impl std::fmt::Display) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, format!("there is no {what}"))
}

/// The parameters of a request.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Request<Body>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Result<u64, Refusal> {
        let refusal = |text| Refusal(StatusCode::BAD_REQUEST, format!("{name}={text} is not a whole number"));
        self.get(name).map_or(Ok(0), |text| text.parse().map_err(|_| refusal(text)))
    }
}

impl Site {
    pub fn new(root: PathBuf, name: String, port: u16) -> Self {
        Self { root, name, port }
    }

    /// Answers a request.
    pub fn answer(&self, request: &Request<Body>) -> Response<Body> {
        let answer = self.checked(request).and_then(|()| self.content(request.uri().path(), &Query::of(request)));
        let (status, content, kind) = match answer {
            Ok((content, kind)) => (StatusCode::OK, content, kind),
            Err(Refusal(status, text)) => {
                (status, Cow::Owned(format!("{text}\n").into_bytes()), "text/plain; charset=utf-8")
            }
        };
        let body = if request.method() == Method::HEAD { Body::empty() } else { Body::from(content.into_owned()) };
        let policy = if kind == "image/svg+xml" {
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
        } else {
            POLICY
        };
        let response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, kind)
            .header(CACHE_CONTROL, "no-store")
            .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(HeaderName::from_static("cross-origin-resource-policy"), "same-origin")
            .header(CONTENT_SECURITY_POLICY, policy);
        let response =
            if status == StatusCode::METHOD_NOT_ALLOWED { response.header(ALLOW, "GET, HEAD") } else { response };
        response.body(body).expect("valid headers")
    }

    /// Refuses methods that change something, and requests for other hosts: a page of another site whose name is made to
    /// point to this machine (DNS rebinding) is not to read the runs.
    fn checked(&self, request: &Request<Body>) -> Result<(), Refusal> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered".into()));
        }
        let stated = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        // Browsers leave out the port of HTTP.
        let port = if self.port == 80 { String::new() } else { format!(":{}", self.port) };
        let hosts = ["127.0.0.1", "localhost"].map(|name| format!("{name}{port}"));
        if !stated.is_some_and(|stated| hosts.iter().any(|host| host.eq_ignore_ascii_case(stated))) {
            let text = format!("only requests for {} are answered", hosts.join(" and "));
            return Err(Refusal(StatusCode::MISDIRECTED_REQUEST, text));
        }
        Ok(())
    }

    fn content(&self, path: &str, query: &Query) -> Answer {
        let text = |text: &'static str, kind| Ok((Cow::Borrowed(text.as_bytes()), kind));
        match path {
            "/" => text(PAGE, "text/html; charset=utf-8"),
            "/style.css" => text(STYLE, "text/css; charset=utf-8"),
            "/page.js" => text(SCRIPT, "text/javascript; charset=utf-8"),
            "/icon.svg" => text(ICON, "image/svg+xml"),
            "/api/runs" => Ok(as_json(&self.runs())),
            "/api/run" => Ok(as_json(&describe::settings(&self.run(query)?)?)),
            "/api/rows" => {
                let (run, from) = (self.run(query)?, query.number("from")?);
                match self.check_inside(&run.metrics()) {
                    Err(refusal @ Refusal(StatusCode::FORBIDDEN, _)) => Err(refusal),
                    // There may be no rows yet.
                    _ => Ok(as_json(&describe::rows(&run, from)?)),
                }
            }
            "/api/preview" => {
                let (run, step) = (self.run(query)?, query.number("step")?);
                let preview = run.folder().previews().into_iter().find(|(of, _)| u64::from(*of) == step);
                let (_, path) = preview.ok_or_else(|| missing(format!("preview of step {step}")))?;
                self.file(&path, "image/png")
            }
            "/api/film" => self.file(&self.run(query)?.folder().film(), "image/png"),
            "/api/picture" => self.file(&self.run(query)?.folder().file(crate::train::PICTURE), "image/svg+xml"),
            "/api/samples" => {
                let run = self.run(query)?;
                self.check_inside(&run.folder().file(crate::train::SAMPLES))?;
                let page = usize::try_from(query.number("page")?).unwrap_or(usize::MAX);
                let picture =
                    describe::samples(&run, page)?.ok_or_else(|| missing(format!("page {page} of samples")))?;
                Ok((Cow::Owned(picture), "image/png"))
            }
            _ => Err(missing("page of this name")),
        }
    }

    fn runs(&self) -> Value {
        let runs = find_runs(&self.root, DEPTH);
        let runs: Vec<Value> =
            runs.iter().filter_map(|(name, path)| RunView::at(path).map(|run| describe::summary(name, &run))).collect();
        json!({"folder": self.name, "version": env!("CARGO_PKG_VERSION"), "runs": runs})
    }

    /// The run that a request names: one of those that are found, so that no path leads out of the folder.
    fn run(&self, query: &Query) -> Result<RunView, Refusal> {
        let name = query.get("run").unwrap_or_default();
        let found = find_runs(&self.root, DEPTH).into_iter().find(|(of, _)| of == name);
        found.and_then(|(_, path)| RunView::at(&path)).ok_or_else(|| missing(format!("run {name}")))
    }

    /// A file of a run.
    fn file(&self, path: &Path, kind: &'static str) -> Answer {
        self.check_inside(path)?;
        Ok((Cow::Owned(fs::read(path)?), kind))
    }

    /// Refuses files that do not exist, and symbolic links to files outside of the folder.
    fn check_inside(&self, path: &Path) -> Result<(), Refusal> {
        match path.canonicalize() {
            Ok(real) if real.starts_with(&self.root) => Ok(()),
            Ok(_) => Err(Refusal(
                StatusCode::FORBIDDEN,
                "a symbolic link to a file outside of the folder is not followed".into(),
            )),
            Err(_) => Err(missing("such file in this run")),
        }
    }
}

fn as_json(value: &Value) -> (Cow<'static, [u8]>, &'static str) {
    (Cow::Owned(value.to_string().into_bytes()), "application/json")
}
