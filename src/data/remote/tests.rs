use std::fs;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore};

use super::object::Object;
use super::server::{PART, Scheme, Server};
use super::*;

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn put(store: &InMemory, key: &str, content: &[u8]) {
    wait(store.put_opts(&Key::parse(key).unwrap(), content.to_vec().into(), Default::default())).unwrap();
}

fn bucket() -> (Arc<InMemory>, Server) {
    let store = Arc::new(InMemory::new());
    (store.clone(), Server { scheme: Scheme::S3, store, start: "s3://b".len(), query: String::new() })
}

#[test]
fn patterns_are_those_of_folders() {
    let (store, server) = bucket();
    for key in ["a/x-2.npy", "a/x-10.npy", "a/y.npy", "a/deep/x-1.npy", "x-1.npy"] {
        put(&store, key, b"x");
    }
    let found = |address: &str| {
        let objects = wait(server.objects(address)).unwrap();
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
        let object = wait(server.objects("s3://b/a.npy")).unwrap().remove(0);
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
