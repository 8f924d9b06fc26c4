//! Encryption: whom the library trusts and whom not, and that nothing is sent in plain text instead.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use crvideo::client::{ServerAddress, TlsMode, TlsSettings};
use crvideo_proto::code;
use crvideo_relay::{BlockingRelay, Config, TlsConfig};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use sha2::{Digest, Sha256};

use crate::certificates::{Authority, HERE, Pair, self_signed, swell, valid};
use crate::proxy::Proxy;
use crate::world::{World, content, eventually};

/// What no plain text may show.
const CANARY: &[u8] = b"the canary that nobody may hear";

fn localhost(port: u16) -> ServerAddress {
    ServerAddress { host: "localhost".to_owned(), port }
}

/// A relay with this certificate, and where its files are.
fn relay_with(pair: &Pair) -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = pair.write(dir.path());
    let tls = TlsConfig { cert: Some(cert), key: Some(key), loopback: true, http: false };
    (World::with(|config| config.tls = tls), dir)
}

fn trusting(dir: &Path, authority: &str) -> TlsSettings {
    let ca_file = dir.join("trusted.pem");
    std::fs::write(&ca_file, authority).unwrap();
    TlsSettings { mode: TlsMode::Always, ca_file: Some(ca_file), ..TlsSettings::default() }
}

/// How a login of a user ends who connects to `localhost` and trusts as `tls` says.
fn login(world: &World, tls: TlsSettings) -> i32 {
    login_at(world, localhost(world.relay.address().port()), tls)
}

fn login_at(world: &World, server: ServerAddress, tls: TlsSettings) -> i32 {
    let mut info = world.info("alice", server);
    info.tls = tls;
    world.stranger(|_| {}).login(info)
}

fn login_with_pair(pair: &Pair, authority: &str) -> i32 {
    let (world, dir) = relay_with(pair);
    login(&world, trusting(dir.path(), authority))
}

#[test]
fn every_bad_certificate_is_refused() {
    let authority = Authority::new("trusted");
    let weak = |name: &str| std::fs::read_to_string(Path::new("tests/tls").join(name)).unwrap();
    let below = authority.below("between").below("below");
    let bad: [(&str, Pair); 8] = [
        ("expired", authority.issue_with(&HERE, |params| valid(params, (2000, 2001)))),
        ("not valid yet", authority.issue_with(&HERE, |params| valid(params, (3000, 3001)))),
        ("another name", authority.issue(&["elsewhere.example", "127.0.0.2"])),
        ("a wildcard of another depth", authority.issue(&["*.localhost", "*"])),
        ("self-signed", self_signed(&HERE)),
        (
            "for clients",
            authority
                .issue_with(&HERE, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ),
        // The one between its authority and ours is missing.
        ("a broken chain", below.issue(&HERE)),
        ("an unknown authority", Authority::new("trusted").issue(&HERE)),
    ];
    for (what, pair) in bad {
        assert_eq!(login_with_pair(&pair, &authority.pem), code::SSL_ERR, "{what}");
    }
    let of_weak_key = Pair { chain: weak("weak-leaf.pem"), key: weak("weak-leaf.key.pem"), public_key: Vec::new() };
    assert_eq!(login_with_pair(&of_weak_key, &weak("weak-ca.pem")), code::SSL_ERR, "an authority with a weak key");
    let (world, dir) = relay_with(&authority.issue(&["localhost"]));
    let by_address = login_at(&world, world.address(), trusting(dir.path(), &authority.pem));
    assert_eq!(by_address, code::SSL_ERR, "an address that is not in the certificate");
}

/// A TLS server that is no relay, with a chain that no relay would take.
fn server_with(chain: Vec<CertificateDer<'static>>, key: &str) -> ServerAddress {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = rustls::crypto::ring::default_provider().key_provider.load_private_key(key).unwrap();
    let resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
            // Whatever the client thinks of the chain, it ends the connection.
            while tls.complete_io(&mut stream).is_ok() && tls.is_handshaking() {}
            let _ = stream.read(&mut [0; 64]);
        }
    });
    localhost(port)
}

#[test]
fn no_certificate_at_all_and_a_chain_without_end_are_refused() {
    let (world, authority) = (World::new(), Authority::new("trusted"));
    let good = authority.issue(&HERE);
    let trust = || trusting(world.dir.path(), &authority.pem);
    let empty = server_with(Vec::new(), &good.key);
    assert_eq!(login_at(&world, empty, trust()), code::SSL_ERR, "no certificate");
    let of = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let filler = authority.issue_with(&["filler.example"], |params| swell(params, 21_500));
    let huge = vec![of(&good.chain), of(&filler.chain), of(&filler.chain), of(&filler.chain)];
    assert!(huge.iter().map(|certificate| certificate.len()).sum::<usize>() > 64 * 1024);
    assert_eq!(login_at(&world, server_with(huge, &good.key), trust()), code::SSL_ERR, "64 KiB of chain");
    let plain = of(&good.chain);
    let other = Authority::new("x").issue(&HERE);
    let stolen = server_with(vec![plain], &other.key);
    assert_eq!(login_at(&world, stolen, trust()), code::SSL_ERR, "the certificate of somebody else's key");
}

#[test]
fn good_certificates_are_taken() {
    let authority = Authority::new("trusted");
    let between = authority.below("between");
    let mut long = between.issue(&HERE);
    long.chain += &between.pem;
    for pair in [authority.issue(&HERE), long] {
        let (world, dir) = relay_with(&pair);
        let tls = trusting(dir.path(), &authority.pem);
        assert_eq!(login(&world, tls.clone()), code::NOERR, "by name");
        assert_eq!(login_at(&world, world.address(), tls), code::NOERR, "by address");
    }
}

fn pin(pair: &Pair) -> Option<[u8; 32]> {
    Some(Sha256::digest(&pair.public_key).into())
}

#[test]
fn a_pinned_key_stands_for_the_chain_but_not_for_the_name() {
    let (pair, other) = (self_signed(&HERE), self_signed(&HERE));
    let (world, _dir) = relay_with(&pair);
    let pinned = |pair| TlsSettings { mode: TlsMode::Always, pinned_key: pin(pair), ..TlsSettings::default() };
    assert_eq!(login(&world, pinned(&pair)), code::NOERR);
    assert_eq!(login(&world, pinned(&other)), code::SSL_ERR);
    let elsewhere = self_signed(&["elsewhere.example"]);
    let (world, _dir) = relay_with(&elsewhere);
    assert_eq!(login(&world, pinned(&elsewhere)), code::SSL_ERR);
}

#[test]
fn a_pinned_key_and_an_authority_must_both_be_right() {
    let authority = Authority::new("trusted");
    let pair = authority.issue(&HERE);
    let (world, dir) = relay_with(&pair);
    let tls = trusting(dir.path(), &authority.pem);
    let wrong_pin = TlsSettings { pinned_key: pin(&self_signed(&HERE)), ..tls.clone() };
    assert_eq!(login(&world, TlsSettings { pinned_key: pin(&pair), ..tls }), code::NOERR);
    assert_eq!(login(&world, wrong_pin), code::SSL_ERR);
    let wrong_authority = trusting(dir.path(), &Authority::new("other").pem);
    assert_eq!(login(&world, TlsSettings { pinned_key: pin(&pair), ..wrong_authority }), code::SSL_ERR);
}

#[test]
fn only_the_insecure_switch_takes_every_certificate_and_its_tickets_serve_nobody_else() {
    let (world, _dir) = relay_with(&self_signed(&["elsewhere.example"]));
    let always = TlsSettings { mode: TlsMode::Always, ..TlsSettings::default() };
    let insecure = TlsSettings { insecure: true, ..always.clone() };
    let mut info = world.info("bob", localhost(world.relay.address().port()));
    info.tls = insecure.clone();
    let bob = world.stranger(|_| {});
    assert_eq!(bob.login(info), code::NOERR);
    assert_eq!(login(&world, insecure), code::NOERR);
    let (authority, dir) = (Authority::new("other"), tempfile::tempdir().unwrap());
    assert_eq!(login(&world, trusting(dir.path(), &authority.pem)), code::SSL_ERR);
}

#[test]
fn a_ca_file_that_cannot_be_used_ends_the_login() {
    let (world, dir) = relay_with(&self_signed(&HERE));
    let file =
        |path: &Path| TlsSettings { mode: TlsMode::Always, ca_file: Some(path.to_owned()), ..TlsSettings::default() };
    let key = dir.path().join("key.pem");
    for bad in [Path::new("/not/there.pem"), dir.path(), &key, Path::new("/dev/zero")] {
        assert_eq!(login(&world, file(bad)), code::SSL_ERR, "{bad:?}");
    }
}

#[test]
fn a_server_that_speaks_plain_text_is_never_spoken_to() {
    let relay = BlockingRelay::start(Config { tls: TlsConfig::default(), ..Config::dev().unwrap() }).unwrap();
    let world = World::encrypted();
    let proxy = Proxy::that_listens(relay.address());
    assert_eq!(login_at(&world, proxy.address(), world.tls.clone()), code::SSL_ERR, "a relay without encryption");
    assert!(!proxy.heard().windows(7).any(|window| window == b"crhello"), "the greeting in plain text");
    for says in [&b"FPNN"[..], b"HTTP/1.1 200 OK\r\n\r\n", b"220 smtp ready\r\n", b""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(says);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            heard
        });
        assert_eq!(login_at(&world, localhost(port), world.tls.clone()), code::SSL_ERR, "{says:?}");
        let heard = serving.join().unwrap();
        assert!(heard.starts_with(&[22, 3]) && !heard.windows(5).any(|window| window == b"alice"), "{heard:?}");
    }
}

#[test]
fn nobody_on_the_way_hears_what_is_sent() {
    let world = World::encrypted();
    let proxy = Proxy::that_listens(world.relay.address());
    let alice = world.user_via("alice", proxy.address(), |_| {});
    let bob = world.user_via("bob", proxy.address(), |_| {});
    assert_eq!(alice.result(alice.send_cmd("bob", CANARY)), code::NOERR);
    assert_eq!(bob.command().2, CANARY);
    let buffer = CANARY.repeat(10_000);
    assert_eq!(alice.result(alice.send_buffer("bob", &buffer)), code::NOERR);
    assert_eq!(bob.buffer().2, buffer);
    let path = world.dir.path().join("a.bin");
    std::fs::write(&path, &buffer).unwrap();
    assert_eq!(alice.result(alice.send_file("bob", &path)), code::NOERR);
    assert_eq!(std::fs::read(bob.file().2).unwrap(), buffer);
    let heard = proxy.heard();
    assert!(heard.len() > 4 * buffer.len(), "both have sent and received by this way");
    // A shorter text may stand in ciphertext by chance.
    for secret in [CANARY, world.relay.secret().as_bytes(), b"alice", b"eyJhbGciOi"] {
        assert!(!heard.windows(secret.len()).any(|window| window == secret), "{}", String::from_utf8_lossy(secret));
    }
}

#[test]
fn what_is_changed_on_the_way_ends_the_connection_and_not_the_session() {
    let world = World::encrypted();
    let proxy = Proxy::new(world.relay.address());
    let (alice, bob) = (world.user_via("alice", proxy.address(), |_| {}), world.user("bob"));
    proxy.tamper(true);
    let task = bob.send_cmd("alice", b"untouched");
    assert_eq!(alice.line_off(), code::SSL_ERR);
    proxy.tamper(false);
    alice.line_on();
    assert_eq!(bob.result(task), code::NOERR);
    assert_eq!(alice.command().2, b"untouched");
    assert_eq!(login_at(&world, proxy.address(), world.tls.clone()), code::NOERR);
    proxy.tamper(true);
    assert_eq!(login_at(&world, proxy.address(), world.tls.clone()), code::SSL_ERR);
}

#[test]
fn links_that_break_are_encrypted_again_and_everything_goes_on() {
    let world = World::encrypted();
    let proxy = Proxy::new(world.relay.address());
    let (alice, bob) = (world.user_via("alice", proxy.address(), |_| {}), world.user("bob"));
    let path = world.file("big.bin", 24 << 20);
    let file = alice.send_file("bob", &path);
    for round in 0..3 {
        let before = proxy.forwarded();
        let commands: Vec<_> = (0..50).map(|_| alice.send_cmd("bob", &[round])).collect();
        let moved = || proxy.forwarded() > before + 100_000;
        eventually("the file goes on", moved);
        proxy.cut();
        assert_ne!(alice.line_off(), code::NOERR);
        alice.line_on();
        for command in commands {
            assert_eq!(bob.command().1, command);
        }
    }
    assert_eq!(alice.result(file), code::NOERR);
    assert_eq!(std::fs::read(bob.file().2).unwrap(), content(24 << 20));
    let second = world.user("alice");
    assert_eq!(alice.line_off(), code::KICKOUT_BY_RELOGIN);
    assert_eq!(second.result(second.send_cmd("bob", b"x")), code::NOERR);
}

#[test]
fn a_certificate_is_replaced_while_sessions_are_up() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let (world, dir) = relay_with(&first.issue(&HERE));
    let trust = |name: &str, authority: &Authority| {
        let own = dir.path().join(name);
        std::fs::create_dir_all(&own).unwrap();
        trusting(&own, &authority.pem)
    };
    let bob = world.stranger(|_| {});
    let mut info = world.info("bob", world.address());
    info.tls = trust("bob", &first);
    assert_eq!(bob.login(info), code::NOERR);
    second.issue(&HERE).write(dir.path());
    let new = trust("new", &second);
    eventually("the new certificate is served", || login(&world, new.clone()) == code::NOERR);
    // A pair that does not belong together changes nothing.
    std::fs::write(dir.path().join("key.pem"), self_signed(&HERE).key).unwrap();
    assert_eq!(login(&world, new), code::NOERR);
    assert_eq!(bob.result(bob.send_cmd("bob", b"still here")), code::NOERR);
}
