//! HTTP over real sockets: health, downloads in whole and in part, and clients who misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::guard::Memory;
use crate::store::{About, Database, Limits, LocalBlobs};

/// Larger than what is read at once, and than what a spool keeps in memory.
const LARGE: usize = 700_001;

struct Ground {
    address: SocketAddr,
    blobs: Arc<LocalBlobs>,
    stop: watch::Sender<bool>,
    memory: Arc<Memory>,
    directory: tempfile::TempDir,
}

impl Ground {
    async fn new(keep: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits { keep, project_quota: 0, min_free_percent: 0 };
        let database = Database::open(Some(directory.path())).unwrap();
        let blobs = Arc::new(LocalBlobs::open(Some(directory.path()), database, limits).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let memory = Memory::new(0);
        let router = router(Some(blobs.clone()), &memory);
        let of_all = memory.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, router.clone(), None, of_all.clone(), stopped.clone()));
            }
        });
        Self { address, blobs, stop, memory, directory }
    }

    async fn store(&self, name: &str, content: &[u8]) -> Blob {
        let mut spool = self.blobs.spool();
        spool.write(content).await.unwrap();
        let content = spool.finish().await.unwrap();
        self.blobs.keep(content, About { project: 1, name: name.to_owned() }).await.unwrap()
    }

    /// Where its content stands.
    fn file(&self, blob: &Blob) -> std::path::PathBuf {
        let id = blob.id.as_str();
        self.directory.path().join("files").join(&id[..2]).join(&id[2..4]).join(id)
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        Answer::read(&bytes)
    }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            // The connection was broken off before there was anything to say.
            return Self { status: 0, headers: BTreeMap::new(), body: Vec::new() };
        }
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pairs = lines.map(|line| line.split_once(": ").unwrap());
        let headers = pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn large() -> Vec<u8> {
    (0..LARGE).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn a_file_comes_whole_with_all_that_keeps_it_harmless() {
    let ground = Ground::new(WEEK).await;
    let blob = ground.store("报告.html", &large()).await;
    let answer = ground.ask("GET", &path(&blob), "").await;
    assert_eq!((answer.status, answer.body == large()), (200, true));
    assert_eq!(answer.header("content-length"), LARGE.to_string());
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"__.html\"; filename*=UTF-8''%E6%8A%A5%E5%91%8A.html"
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert_eq!(answer.header("etag"), format!("\"{}\"", blake3::hash(&large()).to_hex()));
    let head = ground.ask("HEAD", &path(&blob), "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-length", "content-type", "etag"] {
        assert_eq!(head.header(name), answer.header(name), "{name}");
    }
    let empty = ground.store("empty.txt", b"").await;
    let answer = ground.ask("GET", &path(&empty), "").await;
    assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (200, "0", 0));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn parts_and_conditions_are_answered_as_the_standard_says() {
    let ground = Ground::new(WEEK).await;
    let blob = ground.store("a.bin", &large()).await;
    let (path, tag) = (path(&blob), format!("\"{}\"", blob.hash));
    let last = LARGE - 1;
    let rows: [(String, u16, &[u8], String); 12] = [
        ("Range: bytes=0-0\r\n".into(), 206, &large()[..1], format!("bytes 0-0/{LARGE}")),
        (
            "Range: bytes=300000-600000\r\n".into(),
            206,
            &large()[300_000..=600_000],
            format!("bytes 300000-600000/{LARGE}"),
        ),
        ("Range: bytes=-7\r\n".into(), 206, &large()[LARGE - 7..], format!("bytes {}-{last}/{LARGE}", LARGE - 7)),
        (format!("Range: bytes={last}-\r\n"), 206, &large()[last..], format!("bytes {last}-{last}/{LARGE}")),
        (format!("Range: bytes={LARGE}-\r\n"), 416, b"", format!("bytes */{LARGE}")),
        ("Range: bytes=0-1,5-6\r\n".into(), 200, &large(), String::new()),
        ("Range: bytes=0-1\r\nRange: bytes=5-6\r\n".into(), 200, &large(), String::new()),
        (format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n"), 206, &large()[..2], format!("bytes 0-1/{LARGE}")),
        ("Range: bytes=0-1\r\nIf-Range: \"other\"\r\n".into(), 200, &large(), String::new()),
        (format!("Range: bytes=0-1\r\nIf-Range: W/{tag}\r\n"), 200, &large(), String::new()),
        (format!("If-None-Match: \"x\", W/{tag}\r\n"), 304, b"", String::new()),
        ("If-None-Match: \"x\"\r\n".into(), 200, &large(), String::new()),
    ];
    for (headers, status, body, range) in rows {
        let answer = ground.ask("GET", &path, &headers).await;
        assert_eq!(answer.status, status, "{headers}");
        assert!(answer.body == body, "{headers}: {} bytes", answer.body.len());
        assert_eq!(answer.header("content-range"), range, "{headers}");
        assert_eq!(answer.header("etag"), tag, "{headers}");
    }
}

#[tokio::test]
async fn what_is_unknown_expired_or_no_file_looks_alike() {
    let ground = Ground::new(Duration::ZERO).await;
    let expired = path(&ground.store("a.txt", b"x").await);
    let unknown = format!("/files/{}/a.txt", "0".repeat(32));
    let upper = format!("/files/{}/a.txt", "A".repeat(32));
    let paths = [expired.as_str(), &unknown, &upper, "/files/", "/files", "/files/..%2f..%2fetc/passwd", "/", "/x"];
    for path in paths {
        let answer = ground.ask("GET", path, "").await;
        assert_eq!((answer.status, answer.body.as_slice()), (404, b"there is nothing here\n".as_slice()), "{path}");
    }
    assert_eq!(ground.ask("POST", &unknown, "").await.status, 405);
    let health = ground.ask("GET", "/healthz", "").await;
    assert_eq!((health.status, health.body.as_slice()), (200, b"ok\n".as_slice()));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_a_stop_ends_idle_connections() {
    let ground = Ground::new(WEEK).await;
    let answer = ground.ask("GET", "/healthz", &format!("X: {}\r\n", "x".repeat(2 * MAX_HEAD))).await;
    assert_eq!(answer.status, 431);
    let mut idle = TcpStream::connect(ground.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    ground.stop.send(true).unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"ok\n"));
}

#[tokio::test]
async fn a_download_under_way_outlives_the_file() {
    let ground = Ground::new(WEEK).await;
    let content: Vec<u8> = large().into_iter().cycle().take(20 * LARGE).collect();
    let blob = ground.store("a.bin", &content).await;
    let mut stream = TcpStream::connect(ground.address).await.unwrap();
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path(&blob));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 100];
    stream.read_exact(&mut bytes).await.unwrap();
    ground.blobs.remove(blob.id.clone()).await.unwrap();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(Answer::read(&bytes).body == content);
    assert_eq!(ground.ask("GET", &path(&blob), "").await.status, 404);
}

#[tokio::test]
async fn bytes_that_have_changed_on_the_disk_are_not_given_to_anybody() {
    let ground = Ground::new(WEEK).await;
    let part = 128 * 1024;
    let blob = ground.store("a.bin", &large()).await;
    let file = ground.file(&blob);
    let mut content = large();
    content[3 * part + 7] ^= 1;
    std::fs::write(&file, &content).unwrap();
    let answer = ground.ask("GET", &path(&blob), "").await;
    assert_eq!((answer.status, answer.header("content-length")), (200, LARGE.to_string().as_str()));
    assert!(answer.body.len() <= 3 * part && large().starts_with(&answer.body), "{} bytes", answer.body.len());
    // What is whole is still there for whoever asks for it.
    let before = format!("Range: bytes=0-{}\r\n", 3 * part - 1);
    assert_eq!(ground.ask("GET", &path(&blob), &before).await.body, large()[..3 * part]);
    let behind = format!("Range: bytes={}-\r\n", 3 * part + 100);
    assert_eq!(ground.ask("GET", &path(&blob), &behind).await.body, b"");
    content.truncate(LARGE - 1);
    std::fs::write(&file, &content).unwrap();
    assert_eq!(ground.ask("GET", &path(&blob), "").await.status, 500);
    std::fs::write(&file, large()).unwrap();
    assert_eq!(ground.ask("GET", &path(&blob), "").await.body, large());
}

#[tokio::test]
async fn regression_a_download_that_is_not_taken_is_charged_until_it_ends() {
    let ground = Ground::new(WEEK).await;
    let blob = ground.store("a.bin", &vec![7; 16 << 20]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(ground.address).await.unwrap();
        stream.write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path(&blob)).as_bytes()).await.unwrap();
        clients.push(stream);
    }
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    let reaches = async |most: u64, least: u64| {
        while !(least..=most).contains(&ground.memory.used()) {
            assert!(tokio::time::Instant::now() < until, "{} bytes are charged", ground.memory.used());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Each waits with a piece that its client does not take; the next one may have been read.
    reaches(3 * 2 * 128 * 1024, 3 * 128 * 1024).await;
    drop(clients);
    reaches(0, 0).await;
    // A part that begins and ends anywhere is charged for what is read for it, and comes as it is.
    let answer = ground.ask("GET", &path(&blob), "Range: bytes=100000-400000\r\n").await;
    assert_eq!((answer.status, answer.body), (206, vec![7; 300_001]));
    reaches(0, 0).await;
}
