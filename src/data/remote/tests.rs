use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore};

use super::object::Object;
use super::server::{PART, Scheme, Server};
use super::*;

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn put(store: &InMemory, key: &str, content: &[u8]) {
    wait(store.put_opts(&Key::parse(key).unwrap(), content.to_vec().into(), Default::default())).unwrap();
}

fn bucket() -> (Arc<InMemory>, Server) {
    let store = Arc::new(InMemory::new());
    (store.clone(), Server { scheme: Scheme::S3, store, start: "s3://b".len(), query: String::new() })
}

fn objects(server: &Server, address: &str) -> Vec<Object> {
    match wait(server.objects(address)).unwrap() {
        Answer::Found(objects) => objects,
        Answer::Refused(error) => panic!("{error}"),
    }
}

/// The address of a web server with these answers to the paths that are asked for: the status, more headers and the content.
fn serve(answer: impl Fn(&str) -> (u16, &'static str, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head: Vec<String> = BufReader::new(&stream)
                .lines()
                .map_while(std::result::Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let (status, headers, content) = answer(path);
            let head = format!(
                "HTTP/1.1 {status} -\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
                content.len()
            );
            // The client may want the head only.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content));
        }
    });
    address
}

/// As S3 does for those who may not list a bucket.
#[test]
fn a_refusal_may_stand_for_an_absent_file_and_parts_are_of_one_version() {
    let (folder, asked) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(0)));
    let count = asked.clone();
    let server = serve(move |path| match path {
        "/x.npz" => {
            *count.lock().unwrap() += 1;
            (200, "ETag: \"1\"\r\n", b"content".into())
        }
        _ => (403, "", vec![]),
    });
    let mut known = Known::new();
    let mut download = |file: &str| wait(download_all(&format!("{server}/{file}"), folder.path(), &mut known));
    let (images, end) = download("x.npz:images").unwrap();
    assert_eq!((fs::read(&images[0]).unwrap(), end), (b"content".to_vec(), server.len() + 6));
    let before = *asked.lock().unwrap();
    assert_eq!(download("x.npz:labels").unwrap(), (images, end));
    assert_eq!(*asked.lock().unwrap(), before);
    let message = download("y.npz:images").unwrap_err().to_string();
    assert!(
        message.contains("y.npz:images: cannot be downloaded") && message.contains("needs no password"),
        "{message}"
    );
}

#[test]
fn a_signature_with_colons_is_sent_whole() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(|path| match path {
        "/x.npz?se=2026-01-01T00:00:00Z&f[a]=b&sig=c%3D" => (200, "", b"content".into()),
        _ => (404, "", vec![]),
    });
    let spec = format!("{server}/x.npz?se=2026-01-01T00:00:00Z&f[a]=b&sig=c%3D:images");
    let (files, end) = wait(download_all(&spec, folder.path(), &mut Known::new())).unwrap();
    assert_eq!((fs::read(&files[0]).unwrap(), &spec[end..]), (b"content".to_vec(), ":images"));
}

/// Another process may be reading it.
#[test]
fn a_file_without_a_version_is_replaced_as_a_whole() {
    let (folder, content) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(b"first".to_vec())));
    let sent = content.clone();
    let server = serve(move |_| (200, "", sent.lock().unwrap().clone()));
    let download =
        || wait(download_all(&format!("{server}/a.npy"), folder.path(), &mut Known::new())).unwrap().0.remove(0);
    let path = download();
    let mut opened = fs::File::open(&path).unwrap();
    *content.lock().unwrap() = b"other".to_vec();
    assert_eq!((download(), fs::read(&path).unwrap()), (path.clone(), b"other".to_vec()));
    let mut text = String::new();
    opened.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), fs::read_dir(path.parent().unwrap()).unwrap().count()), ("first", 1));
}

#[test]
fn patterns_are_those_of_folders() {
    let (store, server) = bucket();
    for key in ["a/x-2.npy", "a/x-10.npy", "a/y.npy", "a/deep/x-1.npy", "x-1.npy"] {
        put(&store, key, b"x");
    }
    let found = |address: &str| {
        let objects = objects(&server, address);
        objects.into_iter().map(|object| object.address).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found("s3://b/a/x-*.npy"), "s3://b/a/x-2.npy s3://b/a/x-10.npy");
    assert_eq!(found("s3://b/?-1.npy"), "s3://b/x-1.npy");
    assert_eq!(found("s3://b/*/*/x-[0-9].npy"), "s3://b/a/deep/x-1.npy");
    assert_eq!(
        (found("s3://b/a/y.npy"), found("s3://b/z*.npy"), found("s3://b/z")),
        ("s3://b/a/y.npy".into(), "".into(), "".into())
    );
}

#[test]
fn a_download_continues_and_a_changed_file_is_another_one() {
    let (folder, (store, server)) = (tempfile::tempdir().unwrap(), bucket());
    let content: Vec<u8> = (0..2 * PART as u32 + 77).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    put(&store, "a.npy", &content);
    let download = || {
        let object = objects(&server, "s3://b/a.npy").remove(0);
        let mut progress = Progress { done: 0, total: object.size };
        let path = wait(server.download(&object, folder.path(), &mut progress));
        (path, progress.done, folder.path().join(object.version))
    };
    let (path, done, first) = download();
    assert_eq!((fs::read(path.unwrap()).unwrap() == content, done), (true, content.len() as u64));
    // What is there is read again.
    let kept = first.join("a.npy.part");
    fs::remove_file(first.join("a.npy")).unwrap();
    let mut started = content[..5_000].to_vec();
    started[0] ^= 1;
    fs::write(&kept, &started).unwrap();
    let whole = fs::read(download().0.unwrap()).unwrap();
    assert!(whole[1..] == content[1..] && whole[0] == started[0] && !kept.exists());
    put(&store, "a.npy", b"other");
    let (path, _, second) = download();
    assert_eq!(fs::read(path.unwrap()).unwrap(), b"other");
    assert_ne!(first, second);
}

#[test]
fn another_version_is_refused() {
    let meta = |tag: Option<&str>, time: &str| ObjectMeta {
        location: Key::from("a/..\\..\\x.npy"),
        last_modified: time.parse().unwrap(),
        size: 3,
        e_tag: tag.map(str::to_string),
        version: None,
    };
    let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
    let listed = |tag| Object::of("https://h", "", meta(tag, first));
    assert!(listed(Some("\"1\"")).check_version(&meta(Some("\"1\""), second)).is_ok());
    assert!(listed(Some("\"1\"")).check_version(&meta(Some("\"2\""), first)).is_err());
    assert!(listed(Some("W/\"1\"")).check_version(&meta(Some("W/\"1\""), second)).is_err());
    assert!(listed(None).conditions().if_unmodified_since.is_some() && listed(None).has_version());
    assert!(!Object::of("https://h", "", meta(None, "1970-01-01T00:00:00Z")).has_version());
    assert!(!listed(None).name.contains(['\\', '%']));
}

#[test]
fn addresses_without_a_file_are_refused() {
    let message = |spec: &str| Server::of(spec).err().unwrap().to_string();
    assert!(message("ftp://host/x.npy").contains("use https://, s3:// or gs://"));
    for spec in ["s3://bucket", "https://host/", "gs:///x"] {
        assert!(message(spec).contains("names no file"), "{spec}");
    }
}
