//! A client's channel against a server in the same thread: no socket, so that any name and any certificate will do.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::sync::Arc;

use crvideo_proto::frame::{FrameReader, SESSION_LIMIT};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::certificates::{Authority, Pair, self_signed, valid};
use super::*;

struct Server(rustls::ServerConnection, Arc<rustls::ServerConfig>);

impl Server {
    fn new(pair: &Pair) -> Self {
        Self::with_versions(pair, rustls::DEFAULT_VERSIONS)
    }

    fn with_versions(pair: &Pair, versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = CertifiedKey::new(chain, provider.key_provider.load_private_key(key).unwrap());
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(key));
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let config = builder.unwrap().with_no_client_auth().with_cert_resolver(resolver);
        let config = Arc::new(config);
        Self(rustls::ServerConnection::new(config.clone()).unwrap(), config)
    }
}

/// Shakes hands; the last error in words.
fn shake(channel: &mut Channel, server: &mut Server) -> Result<(), String> {
    while channel.is_handshaking() || server.0.is_handshaking() {
        let mut to_server = Vec::new();
        while channel.has_unsent() {
            channel.send(&mut to_server).unwrap();
        }
        let mut rest = to_server.as_slice();
        while !rest.is_empty() {
            server.0.read_tls(&mut rest).unwrap();
            server.0.process_new_packets().map_err(|error| format!("the server says {error}"))?;
        }
        let mut to_client = Vec::new();
        while server.0.wants_write() {
            server.0.write_tls(&mut to_client).unwrap();
        }
        channel.take_in(&to_client)?;
    }
    Ok(())
}

fn trust(authority: &Authority) -> (TlsSettings, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("authority.pem");
    std::fs::write(&ca_file, &authority.pem).unwrap();
    (TlsSettings { ca_file: Some(ca_file), ..TlsSettings::default() }, dir)
}

fn connect(name: &str, pair: &Pair, settings: &TlsSettings) -> Result<(), String> {
    shake(&mut Channel::start(&load(settings)?, name)?, &mut Server::new(pair))
}

#[test]
fn names_and_wildcards_match_as_they_should_and_no_further() {
    let authority = Authority::new("an authority");
    let (settings, _dir) = trust(&authority);
    let pair = authority.issue(&["*.example.com", "relay.example.org", "10.1.2.3", "fd00::1"]);
    for good in ["relay.example.com", "RELAY.example.com", "relay.example.org", "10.1.2.3", "fd00::1"] {
        assert_eq!(connect(good, &pair, &settings), Ok(()), "{good}");
    }
    for bad in ["example.com", "a.relay.example.com", "a.example.org", "10.1.2.4", "fd00::2", "relay.example.net"] {
        let why = connect(bad, &pair, &settings).unwrap_err();
        assert!(why.contains("the check of the name"), "{bad}: {why}");
    }
    let why = connect("not a name", &pair, &settings).unwrap_err();
    assert!(why.contains("is not a name that a certificate could be for"), "{why}");
}

#[test]
fn what_was_wrong_with_a_certificate_is_said_with_the_cure() {
    let authority = Authority::new("an authority");
    let (settings, dir) = trust(&authority);
    let of = |pair: &Pair| connect("relay.example", pair, &settings).unwrap_err();
    let says = |why: String, expected: &str| assert!(why.contains(expected), "{expected:?} is not in {why:?}");
    let names = ["relay.example"];
    says(of(&authority.issue_with(&names, |params| valid(params, (2000, 2001)))), "the check of the date");
    says(of(&authority.issue_with(&names, |params| valid(params, (3000, 3001)))), "the check of the date");
    let for_clients = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    says(of(&authority.issue_with(&names, for_clients)), "the check of the purpose");
    says(of(&self_signed(&names)), "name the file of the authority's certificate as ca_file");
    says(of(&Authority::new("an authority").issue(&names)), "the check of");
    says(of(&authority.below("between").issue(&names)), "let the relay send the whole chain");
    let pinned = TlsSettings { pinned_key: Some([7; 32]), ..settings.clone() };
    says(connect("relay.example", &authority.issue(&names), &pinned).unwrap_err(), "the key check failed");
    let ca_file = |path: &Path| TlsSettings { ca_file: Some(path.to_owned()), ..TlsSettings::default() };
    says(load(&ca_file(Path::new("/not/there"))).unwrap_err(), "\"/not/there\" cannot be read");
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    says(load(&ca_file(&empty)).unwrap_err(), "has no certificate in PEM form");
}

#[test]
fn a_server_that_speaks_no_newer_version_than_1_2_is_refused() {
    let authority = Authority::new("ours");
    let pair = authority.issue(&["relay.example.com"]);
    let (settings, _dir) = trust(&authority);
    let shake_with = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let mut channel = Channel::start(&load(&settings).unwrap(), "relay.example.com").unwrap();
        shake(&mut channel, &mut Server::with_versions(&pair, versions)).map(|()| channel.version())
    };
    let version = shake_with(&[&rustls::version::TLS13, &rustls::version::TLS12]).unwrap();
    assert!(version.starts_with("TLSv1_3 "), "{version}");
    let refused = shake_with(&[&rustls::version::TLS12]).unwrap_err();
    assert!(refused.contains("the server says"), "{refused}");
}

#[test]
fn sessions_that_trust_the_same_share_it_and_others_do_not() {
    let (settings, _dir) = trust(&Authority::new("one"));
    let (other, _other_dir) = trust(&Authority::new("two"));
    let (one, same, two) = (load(&settings).unwrap(), load(&settings).unwrap(), load(&other).unwrap());
    assert!(Arc::ptr_eq(&one.config(), &same.config()));
    assert!(!Arc::ptr_eq(&one.config(), &two.config()));
}

#[test]
fn the_second_handshake_with_a_server_is_a_short_one_and_plain_text_goes_through_in_pieces() {
    let authority = Authority::new("an authority");
    let (settings, _dir) = trust(&authority);
    let trusted = load(&settings).unwrap();
    let mut server = Server::new(&authority.issue(&["relay.example"]));
    let mut channel = Channel::start(&trusted, "relay.example").unwrap();
    shake(&mut channel, &mut server).unwrap();
    assert!(channel.version().contains("TLSv1_3") && channel.version().contains("Full"), "{}", channel.version());
    let sent: Vec<u8> = (0..50_000u32).map(|number| number as u8).collect();
    std::io::Write::write_all(&mut server.0.writer(), &sent).unwrap();
    let mut wire = Vec::new();
    while server.0.wants_write() {
        server.0.write_tls(&mut wire).unwrap();
    }
    let mut reader = FrameReader::new(SESSION_LIMIT);
    let got: usize = wire.chunks(777).map(|piece| channel.decrypt(piece, &mut reader).unwrap()).sum();
    assert_eq!((got, reader.buffered()), (sent.len(), sent.len()));
    let mut second = Channel::start(&trusted, "relay.example").unwrap();
    let mut same_server = Server(rustls::ServerConnection::new(server.1.clone()).unwrap(), server.1);
    shake(&mut second, &mut same_server).unwrap();
    assert!(second.version().contains("Resumed"), "{}", second.version());
}

#[test]
fn a_changed_byte_is_noticed() {
    let authority = Authority::new("an authority");
    let (settings, _dir) = trust(&authority);
    let mut server = Server::new(&authority.issue(&["relay.example"]));
    let mut channel = Channel::start(&load(&settings).unwrap(), "relay.example").unwrap();
    shake(&mut channel, &mut server).unwrap();
    std::io::Write::write_all(&mut server.0.writer(), b"paid: 10").unwrap();
    let mut wire = Vec::new();
    while server.0.wants_write() {
        server.0.write_tls(&mut wire).unwrap();
    }
    let last = wire.len() - 1;
    wire[last] ^= 1;
    let mut reader = FrameReader::new(SESSION_LIMIT);
    let why = channel.decrypt(&wire, &mut reader).unwrap_err();
    assert!(why.contains("changed on the way") && reader.buffered() == 0, "{why}");
}
