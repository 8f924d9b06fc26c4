//! Certificates for tests, good ones and bad ones, made on the spot.
#![allow(dead_code, clippy::unwrap_used, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Authority {
    /// A new one, signed by itself.
    pub fn new(name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A new one, signed by this one.
    pub fn below(&self, name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a server with these names and addresses, changed by `change`.
    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let (params, key) = (server_params(names, change), KeyPair::generate().unwrap());
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair::new(chain, &key)
    }

    /// A good certificate for a server with these names and addresses.
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.issue_with(names, |_| {})
    }
}

fn server_params(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    params
}

/// A certificate that nobody but itself vouches for.
pub fn self_signed(names: &[&str]) -> Pair {
    let (params, key) = (server_params(names, |_| {}), KeyPair::generate().unwrap());
    Pair::new(params.self_signed(&key).unwrap().pem(), &key)
}

/// The certificate of a server, with what leads to its authority, and its key.
#[derive(Clone)]
pub struct Pair {
    pub chain: String,
    pub key: String,
    /// DER of the public key.
    pub public_key: Vec<u8>,
}

impl Pair {
    fn new(chain: String, key: &KeyPair) -> Self {
        use rcgen::PublicKeyData;
        Self { chain, key: key.serialize_pem(), public_key: key.subject_public_key_info() }
    }

    /// Writes both into files below `dir`; returns their paths.
    pub fn write(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert, &self.chain).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        (cert, key)
    }
}

/// The names that tests reach their servers by.
pub const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// From the first second of one year to that of another.
pub fn valid(params: &mut CertificateParams, years: (i32, i32)) {
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
}

/// Makes a certificate of about this many bytes.
pub fn swell(params: &mut CertificateParams, bytes: usize) {
    // An OCTET STRING in an extension that nobody knows (2.25.1) and nobody must know.
    params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 25, 1], vec![0; bytes]));
}
