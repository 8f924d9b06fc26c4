//! Encryption by the relay, seen from outside: what it proves to be, how it begins, and who is closed when.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/common/certificates.rs"]
mod certificates;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use certificates::{Authority, HERE, Pair};
use crvideo_proto::frame::{FrameReader, SESSION_LIMIT};
use crvideo_proto::message::{Hello, HelloAnswer, read_answer};
use crvideo_proto::out::OutQueue;
use crvideo_relay::{BlockingRelay, Config, TlsConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn client_config(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection whose handshake is done.
fn encrypted(address: SocketAddr, authority: &str) -> std::io::Result<Stream> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(client_config(authority), name).unwrap(), tcp(address));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn greeting() -> Vec<u8> {
    let mut out = OutQueue::default();
    out.quest(1, &Hello { lowest: 1, highest: 1, features: 0, agent: "test".into() });
    out.take()
}

/// Says hello and hears the answer.
fn is_greeted(stream: &mut (impl Read + Write)) -> bool {
    stream.write_all(&greeting()).unwrap();
    let mut reader = FrameReader::new(SESSION_LIMIT);
    let mut piece = [0; 4096];
    loop {
        if let Some(frame) = reader.next_frame().unwrap() {
            return read_answer::<HelloAnswer>(&frame).is_ok();
        }
        match stream.read(&mut piece) {
            Ok(len) if len > 0 => reader.feed(&piece[..len]),
            _ => return false,
        }
    }
}

/// Whether the other side closes the connection; what it still says is passed over.
fn is_closed(stream: &mut impl Read) -> bool {
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            // TLS tells an end without a farewell from one with it.
            Err(error) => return matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
        }
    }
}

struct Ground {
    relay: BlockingRelay,
    authority: Authority,
    _dir: tempfile::TempDir,
}

fn ground(change: impl FnOnce(&mut Config)) -> Ground {
    let (authority, dir) = (Authority::new("an authority"), tempfile::tempdir().unwrap());
    let (cert, key) = authority.issue(&HERE).write(dir.path());
    let tls = TlsConfig { cert: Some(cert), key: Some(key), loopback: true, http: true };
    let mut config = Config { tls, ..Config::dev().unwrap() };
    change(&mut config);
    Ground { relay: BlockingRelay::start(config).unwrap(), authority, _dir: dir }
}

#[test]
fn what_is_said_together_with_the_end_of_the_handshake_is_heard() {
    let ground = ground(|_| {});
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(client_config(&ground.authority.pem), name).unwrap();
    // With TLS 1.3 this goes out right behind the client's last word.
    client.writer().write_all(&greeting()[..5]).unwrap();
    let mut stream = StreamOwned::new(client, tcp(ground.relay.address()));
    stream.write_all(&greeting()[5..]).unwrap();
    let mut first = [0; 4];
    stream.read_exact(&mut first).unwrap();
    assert!(is_greeted(&mut encrypted(ground.relay.address(), &ground.authority.pem).unwrap()));
}

#[test]
fn slow_and_half_handshakes_end_by_the_deadline_and_hold_up_nobody() {
    let ground = ground(|config| config.login_deadline = Duration::from_secs(2));
    let address = ground.relay.address();
    let hello = {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(client_config(&ground.authority.pem), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    };
    // More than can be computed at a time: some say nothing, some half of it, and some go on no further.
    let mut slow: Vec<_> = (0..60).map(|_| tcp(address)).collect();
    for (number, stream) in slow.iter_mut().enumerate() {
        stream.write_all(&hello[..[0, 5, hello.len() / 2, hello.len()][number % 4]]).unwrap();
    }
    assert!(is_greeted(&mut encrypted(address, &ground.authority.pem).unwrap()));
    for stream in &mut slow {
        assert!(is_closed(stream));
    }
    // Who has shaken hands and does not log in is closed, too.
    assert!(is_closed(&mut encrypted(address, &ground.authority.pem).unwrap()));
    let until = Instant::now() + PATIENCE;
    while ground.relay.connections() > 0 {
        assert!(Instant::now() < until, "connections stay behind");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn http_is_encrypted_and_a_program_that_is_not_ours_agrees() {
    let ground = ground(|_| {});
    let http = ground.relay.http_address().unwrap();
    let mut stream = encrypted(http, &ground.authority.pem).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok\n"), "{answer}");
    let mut plain = tcp(http);
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    let _ = plain.read_to_end(&mut heard);
    assert!(!heard.windows(4).any(|window| window == b"HTTP"), "an answer in plain text");
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), &ground.authority.pem).unwrap();
    let url = format!("https://localhost:{}/healthz", http.port());
    let curl =
        |more: &[&str]| Command::new("curl").args(["-sS", "--max-time", "20", &url]).args(more).output().unwrap();
    let done = curl(&["--cacert", ca.path().to_str().unwrap()]);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "ok\n", "{}", String::from_utf8_lossy(&done.stderr));
    // curl's number for a certificate that it does not trust.
    assert_eq!(curl(&[]).status.code(), Some(60));
}

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crvideo-relay"));
    command.env_clear().args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn refusal(output: &Output) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "one sentence: {error:?}");
    error
}

fn files(dir: &Path, pair: &Pair) -> [String; 2] {
    let (cert, key) = pair.write(dir);
    [cert, key].map(|path| path.into_os_string().into_string().unwrap())
}

#[test]
fn a_pair_that_cannot_be_used_is_one_sentence_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("an authority");
    let (good, other) = (authority.issue(&HERE), authority.issue(&HERE));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGb\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned();
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
               -----END RSA PRIVATE KEY-----\n"
        .to_owned();
    let cases = [
        (Pair { key: other.key.clone(), ..good.clone() }, "does not belong to the certificate in"),
        (Pair { key: encrypted, ..good.clone() }, "is encrypted"),
        (Pair { key: old, ..good.clone() }, "is encrypted"),
        (Pair { key: "nothing".to_owned(), ..good.clone() }, "has no private key in PEM form"),
        (Pair { chain: "nothing".to_owned(), ..good.clone() }, "has no certificate in PEM form"),
        (Pair { chain: good.key.clone(), ..good.clone() }, "has no certificate in PEM form"),
        (Pair { chain: good.chain.replace("-----END", "-----ENDE"), ..good.clone() }, "is damaged"),
    ];
    for (pair, expected) in cases {
        let [cert, key] = files(dir.path(), &pair);
        let error = refusal(&program(&["--dev", "--tls-cert", &cert, "--tls-key", &key]).output().unwrap());
        assert!(error.contains(expected) && error.contains(dir.path().to_str().unwrap()), "{expected}: {error}");
    }
    let [cert, _] = files(dir.path(), &good);
    for words in [["--tls-cert", "/not/there", "--tls-key", &cert], ["--tls-cert", &cert, "--tls-key", "/not/there"]] {
        let error = refusal(&program(&[&["--dev"], &words[..]].concat()).output().unwrap());
        assert!(error.contains("\"/not/there\"") && error.contains("cannot be read"), "{error}");
    }
}

/// The program, its ready line, and its log as it grows. Ended with its test.
struct Running {
    child: Child,
    ready: String,
    log: Arc<Mutex<String>>,
}

impl Running {
    fn start(words: &[&str]) -> Self {
        let mut child = program(words).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let (log, errors) = (Arc::new(Mutex::new(String::new())), BufReader::new(child.stderr.take().unwrap()));
        let to = log.clone();
        std::thread::spawn(move || {
            errors.lines().map_while(Result::ok).for_each(|line| *to.lock().unwrap() += &(line + "\n"))
        });
        Self { child, ready, log }
    }

    fn value(&self, key: &str) -> &str {
        let mut words = self.ready.split_whitespace();
        words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or_else(|| panic!("{:?}", self.ready))
    }

    fn says(&self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.log.lock().unwrap().contains(text) {
            assert!(Instant::now() < until, "{text:?} is not in the log: {}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_ready_line_says_which_listeners_are_encrypted_and_the_log_who_spoke_the_wrong_way() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("an authority");
    let [cert, key] = files(dir.path(), &authority.issue(&HERE));
    let common = ["--dev", "--log", "debug", "--tls-cert", &cert, "--tls-key", &key];
    let relay = Running::start(&[&common[..], &["--tls-loopback"]].concat());
    assert_eq!(relay.value("tls"), format!("{},{}", relay.value("listen"), relay.value("http")));
    let mut plain = tcp(relay.value("listen").parse().unwrap());
    plain.write_all(&greeting()).unwrap();
    assert!(is_closed(&mut plain));
    relay.says("what came is not TLS; the client speaks plain text");
    let distrustful = encrypted(relay.value("listen").parse().unwrap(), &Authority::new("another").pem);
    assert!(distrustful.is_err());
    relay.says("the client does not accept the certificate");

    let relay = Running::start(&common);
    assert!(!relay.ready.contains("tls="), "{:?}", relay.ready);
    relay.says("the certificate is of no use");
    assert!(encrypted(relay.value("listen").parse().unwrap(), &authority.pem).is_err());
    relay.says("the client speaks TLS, and this listener plain text");
    assert!(is_greeted(&mut tcp(relay.value("listen").parse().unwrap())));
    assert!(encrypted(relay.value("http").parse().unwrap(), &authority.pem).is_err());
    relay.says("what came is not HTTP; TLS goes to another listener");
}

#[test]
fn the_certificate_is_read_again_on_sighup_and_a_bad_one_is_an_error_that_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let [cert, key] = files(dir.path(), &first.issue(&HERE));
    let relay = Running::start(&["--dev", "--tls-loopback", "--tls-cert", &cert, "--tls-key", &key]);
    let address: SocketAddr = relay.value("listen").parse().unwrap();
    let mut early = encrypted(address, &first.pem).unwrap();
    let hang_up = || {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -HUP {}", relay.child.id())).status().unwrap();
        assert!(sent.success());
    };
    std::fs::write(dir.path().join("key.pem"), "nothing").unwrap();
    hang_up();
    relay.says("the certificate stays as it is, because the file");
    assert!(encrypted(address, &first.pem).is_ok());
    second.issue(&HERE).write(dir.path());
    hang_up();
    relay.says("new connections get the certificate that is in the file now");
    assert!(encrypted(address, &second.pem).is_ok());
    assert!(encrypted(address, &first.pem).is_err());
    assert!(is_greeted(&mut early), "the connection of before");
}
