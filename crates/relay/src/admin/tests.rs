#![allow(clippy::unwrap_used)]
//! The operator's socket, asked as the program's own command asks, against a running relay.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::commands::AdminArgs;
use crate::{BlockingRelay, Config};

fn relay(data: &Path) -> BlockingRelay {
    BlockingRelay::start(Config { data: Some(data.to_owned()), ..Config::dev().unwrap() }).unwrap()
}

fn ask(data: &Path, words: &[&str]) -> Result<String, String> {
    let data = data.to_str().unwrap();
    let words = ["admin", "--data", data].into_iter().chain(words.iter().copied());
    AdminArgs::try_parse_from(words).unwrap().run()
}

#[test]
fn nobody_else_can_open_the_socket_and_it_goes_with_the_relay() {
    let data = tempfile::tempdir().unwrap();
    let running = relay(data.path());
    let path = data.path().join(super::SOCKET_NAME);
    let found = std::fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    running.kill();
    // What a killed relay leaves is replaced.
    let running = relay(data.path());
    assert!(ask(data.path(), &["counters"]).unwrap().contains("sessions\t0"));
    running.stop();
    assert!(!path.exists());
    let error = ask(data.path(), &["counters"]).unwrap_err();
    assert!(error.contains("is it running?"), "{error}");
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join(super::SOCKET_NAME);
    std::fs::write(&path, "precious").unwrap();
    let config = Config { data: Some(data.path().to_owned()), ..Config::dev().unwrap() };
    let error = BlockingRelay::start(config).err().unwrap().to_string();
    assert!(error.contains("no socket stands there"), "{error}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
}

#[test]
fn what_is_wrong_with_a_request_is_named() {
    let data = tempfile::tempdir().unwrap();
    let running = relay(data.path());
    for words in [&["users", "--project", "99"][..], &["kick", "--project", "99", "--user", "x"]] {
        let error = ask(data.path(), words).unwrap_err();
        assert!(error.contains("there is no project 99"), "{error}");
    }
    assert_eq!(ask(data.path(), &["kick", "--project", "1", "--user", "nobody"]).unwrap(), "not there");
    let raw = |request: &'static str| {
        let path = data.path().join(super::SOCKET_NAME);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        })
    };
    for (request, expected) in [
        ("GET /v1/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "missing field `project`"),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404 Not Found"),
        (
            "POST /v1/revoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: 13\r\n\r\n{\"project\":1}",
            "give either",
        ),
    ] {
        let answer = raw(request);
        assert!(answer.contains(expected) && answer.contains("\"error\""), "{answer}");
    }
    running.stop();
}
