//! `langevin serve`: what it answers, what it refuses, and that it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::SystemTime;

use serde_json::Value;

use crate::common::{Test, always, named};
use crate::support::{Place, json};

pub fn tests() -> Vec<Test> {
    #[allow(unused_mut)]
    let mut tests = always(named![
        a_folder_of_runs_is_served,
        an_imported_run_is_not_stopped,
        other_hosts_and_methods_are_refused,
        nothing_outside_of_the_runs_is_served,
        a_run_appears_while_it_is_served,
        wrong_folders_and_ports_are_refused,
    ]);
    #[cfg(unix)]
    tests.extend(always(named![symbolic_links_are_not_followed]));
    tests
}

/// A server that ends with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A status, the head and the body.
struct Reply(u16, String, Vec<u8>);

impl Reply {
    fn json(&self) -> Value {
        json(&String::from_utf8_lossy(&self.2))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.2).into_owned()
    }
}

impl Server {
    fn of(place: &Place, runs: &str) -> Self {
        let mut command = place.command(&format!("serve {runs} --port 0 --json"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = json(&line)["address"].as_str().unwrap().to_string();
        let port = address.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
        Self { child, port }
    }

    fn send(&self, method: &str, path: &str, host: &str) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let host = if host.is_empty() { String::new() } else { format!("Host: {host}\r\n") };
        write!(stream, "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply(status, head, bytes[end + 4..].to_vec())
    }

    fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &format!("127.0.0.1:{}", self.port))
    }
}

/// Every file below a folder, with its length and the time of its last change.
fn state(folder: &Path) -> BTreeMap<String, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, about) = (entry.path(), entry.metadata().unwrap());
        if about.is_dir() {
            found.extend(state(&path));
        }
        found.insert(path.display().to_string(), (about.len(), about.modified().unwrap()));
    }
    found
}

/// An imported run has weights, but was not trained in its folder.
fn an_imported_run_is_not_stopped() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.ok("export run --pytorch model");
    place.ok("import model --out runs/imported");
    let runs = Server::of(&place, "runs").get("/api/runs").json();
    assert_eq!(runs["runs"][0]["state"], "imported", "{runs}");
}

fn a_folder_of_runs_is_served() {
    let place = Place::new();
    place.ok(
        "train ok.npy --out runs/a --config small.toml --steps 30 --preview 10 --validation 0.2 --validation-every 10",
    );
    place.ok("train ok.npy --out runs/more/b --config small.toml --steps 20 --lr 0.01 --preview off --no-samples");
    let before = state(&place.path("runs"));
    let server = Server::of(&place, "runs");
    let page = server.get("/");
    assert!(page.0 == 200 && page.text().contains("<title>langevin</title>") && page.1.contains("text/html"));
    for header in ["content-security-policy: default-src 'none'", "nosniff", "no-store", "same-origin"] {
        assert!(page.1.contains(header), "{header}: {}", page.1);
    }
    assert!(!page.text().contains("http://") && !page.text().contains("https://"), "nothing from the network");
    for path in ["/style.css", "/page.js", "/icon.svg"] {
        assert_eq!(server.get(path).0, 200, "{path}");
    }
    let runs = server.get("/api/runs").json();
    let [a, b] = &runs["runs"].as_array().unwrap()[..] else { panic!("{runs}") };
    assert_eq!((&a["name"], &a["state"], &a["step"]), (&"a".into(), &"finished".into(), &30.into()));
    assert_eq!((&b["name"], &b["previews"]), (&"more/b".into(), &0.into()));
    assert!(a["loss"].is_f64() && a["validation"].is_f64() && b["validation"].is_null(), "{runs}");

    let rows = server.get("/api/rows?run=a&from=0").json();
    let text = String::from_utf8(place.read("runs/a/metrics.csv")).unwrap();
    assert_eq!(format!("{}\n{}", rows["header"].as_str().unwrap(), rows["text"].as_str().unwrap()), text);
    assert_eq!(rows["next"].as_u64(), Some(text.len() as u64));
    assert_eq!(server.get(&format!("/api/rows?run=a&from={}", text.len())).json()["text"], "");

    let about = server.get("/api/run?run=more%2Fb").json();
    let setting =
        |name: &str| about["settings"].as_array().unwrap().iter().find(|pair| pair[0] == name).unwrap()[1].clone();
    assert_eq!((setting("lr"), setting("model.width")), ("0.01".into(), "16".into()));
    let about = server.get("/api/run?run=a").json();
    assert_eq!((&about["previews"], &about["film"]), (&serde_json::json!([10, 20, 30]), &true.into()));
    assert!(about["pages"].as_u64() > Some(0) && about["picture"].is_u64(), "{about}");
    for path in ["/api/preview?run=a&step=20", "/api/film?run=a", "/api/samples?run=a&page=1"] {
        let picture = server.get(path);
        assert!(picture.0 == 200 && picture.2.starts_with(b"\x89PNG") && picture.1.contains("image/png"), "{path}");
    }
    assert!(server.get("/api/picture?run=a").text().contains("<svg"));
    assert_eq!(server.send("HEAD", "/", &format!("localhost:{}", server.port)).2.len(), 0);
    assert_eq!(state(&place.path("runs")), before, "nothing is written");
}

fn other_hosts_and_methods_are_refused() {
    let place = Place::new();
    fs::create_dir(place.path("runs")).unwrap();
    let server = Server::of(&place, "runs");
    let port = server.port;
    for host in [
        "example.org",
        &format!("example.org:{port}"),
        "127.0.0.1",
        &format!("127.0.0.1.example.org:{port}"),
        "localhost:1",
    ] {
        let refused = server.send("GET", "/api/runs", host);
        assert_eq!(refused.0, 421, "{host}");
        assert!(refused.text().contains("only requests for 127.0.0.1"), "{}", refused.text());
    }
    assert!(server.send("GET", "/", "").0 >= 400, "no host");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let refused = server.send(method, "/api/runs", &format!("localhost:{port}"));
        assert_eq!((refused.0, refused.1.contains("allow: get, head")), (405, true), "{method}");
    }
}

fn nothing_outside_of_the_runs_is_served() {
    let place = Place::new();
    place.train("ok.npy", "outside");
    place.train("ok.npy", "runs/a");
    let server = Server::of(&place, "runs");
    let outside = place.path("outside").display().to_string();
    for run in
        ["..%2Foutside", "a%2F..%2F..%2Foutside", "%2e%2e/outside", "", "a%00", "a/", &outside.replace('/', "%2F")]
    {
        for what in ["run", "rows", "film", "picture", "preview", "samples"] {
            assert_eq!(server.get(&format!("/api/{what}?run={run}")).0, 404, "{what} of {run}");
        }
    }
    for path in ["/../ok.npy", "/runs/a/config.toml", "/a/config.toml", "/api", "/api/file?run=a&name=config.toml"] {
        assert_eq!(server.get(path).0, 404, "{path}");
    }
    for path in ["/api/rows?run=a&from=x", "/api/samples?run=a&page=-1", "/api/preview?run=a&step=1e3"] {
        assert_eq!(server.get(path).0, 400, "{path}");
    }
    assert_eq!(server.get("/api/samples?run=a&page=99999999999999999999").0, 400);
    assert_eq!(server.get("/api/samples?run=a&page=18446744073709551615").0, 404);
    assert_eq!(server.get("/api/rows?run=a&from=18446744073709551615").0, 200);
}

#[cfg(unix)]
fn symbolic_links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    place.ok("train ok.npy --out outside --config small.toml --steps 20 --preview 10");
    place.train("ok.npy", "runs/a");
    symlink(place.path("outside"), place.path("runs/link")).unwrap();
    fs::create_dir_all(place.path("runs/a/previews")).unwrap();
    symlink(place.path("ok.npy"), place.path("runs/a/previews/000000011.png")).unwrap();
    fs::remove_file(place.path("runs/a/samples/compare.svg")).unwrap();
    symlink(place.path("small.toml"), place.path("runs/a/samples/compare.svg")).unwrap();
    let server = Server::of(&place, "runs");
    assert_eq!(server.get("/api/runs").json()["runs"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/api/run?run=link").0, 404);
    for path in ["/api/preview?run=a&step=11", "/api/picture?run=a"] {
        let refused = server.get(path);
        assert_eq!(refused.0, 403, "{path}");
        assert!(!refused.text().contains("batch"), "{}", refused.text());
    }
    // The settings and the rows are read by the same rule.
    fs::remove_file(place.path("runs/a/metrics.csv")).unwrap();
    symlink(place.path("outside/metrics.csv"), place.path("runs/a/metrics.csv")).unwrap();
    assert_eq!(server.get("/api/rows?run=a").0, 403);
    fs::remove_file(place.path("runs/a/config.toml")).unwrap();
    symlink(place.path("outside/config.toml"), place.path("runs/a/config.toml")).unwrap();
    assert_eq!(server.get("/api/run?run=a").0, 404);
}

fn a_run_appears_while_it_is_served() {
    let place = Place::new();
    fs::create_dir(place.path("runs")).unwrap();
    let server = Server::of(&place, "runs");
    assert_eq!(server.get("/api/runs").json()["runs"], serde_json::json!([]));
    let mut training = place.command("train ok.npy --out runs/new --config small.toml --steps 1000000 --no-samples");
    let mut training = training.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let seen = |wanted: &dyn Fn(&Value) -> bool| {
        (0..600).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            server.get("/api/runs").json()["runs"].as_array().unwrap().iter().any(wanted)
        })
    };
    let appeared = seen(&|run| run["state"] == "training" && run["step"].as_u64() > Some(0));
    training.kill().unwrap();
    training.wait().unwrap();
    assert!(appeared, "{}", server.get("/api/runs").text());
    assert!(seen(&|run| run["state"] == "stopped"), "{}", server.get("/api/runs").text());
}

fn wrong_folders_and_ports_are_refused() {
    let place = Place::new();
    place.refused("serve missing", 1, &["missing is not a folder"]);
    place.refused("serve ok.npy", 1, &["ok.npy is not a folder"]);
    let server = Server::of(&place, ".");
    place.refused(&format!("serve . --port {}", server.port), 2, &["is in use", "--port"]);
    place.refused("serve . --port 70000", 2, &["70000"]);
}
