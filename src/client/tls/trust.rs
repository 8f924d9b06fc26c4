//! Whom a session trusts: the platform's authorities, those of a file, or one key. Loaded on helper threads, shared by
//! all sessions that trust the same.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, KeyProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SigningKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256};

use super::super::config::TlsSettings;
use super::explain::WrongPin;

/// Servers of which tickets are kept, so that the next handshake with them is a short one.
const REMEMBERED_SERVERS: usize = 64;
/// Largest file of authorities in bytes: those of a whole platform have a quarter of a megabyte.
const MAX_CA_FILE: u64 = 16 * 1024 * 1024;

/// Whom a session trusts.
#[derive(Debug, Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }
}

/// What tells one trust from another.
#[derive(Debug, PartialEq, Eq)]
struct Ground {
    /// The content of the file of authorities.
    authorities: Option<Vec<u8>>,
    pinned_key: Option<[u8; 32]>,
    insecure: bool,
}

/// Those that some session has. Sessions that trust differently share nothing, tickets neither: a ticket stands for a
/// check that was made.
static SHARED: Mutex<Vec<(Ground, Weak<ClientConfig>)>> = Mutex::new(Vec::new());

fn lock() -> MutexGuard<'static, Vec<(Ground, Weak<ClientConfig>)>> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads what a session trusts; reads files. What is wrong is said in words.
pub fn load(settings: &TlsSettings) -> Result<Trust, String> {
    let TlsSettings { ca_file, pinned_key, insecure, .. } = settings;
    let ground = Ground {
        authorities: ca_file.as_deref().map(read_authorities).transpose()?,
        pinned_key: *pinned_key,
        insecure: *insecure,
    };
    if *insecure {
        log::warn!(
            "INSECURE: every certificate is taken (CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE); whoever stands between can \
             read and change everything"
        );
    }
    // The lock is held while the platform's authorities are read, so that a thousand logins read them once.
    let mut shared = lock();
    shared.retain(|(_, config)| config.strong_count() > 0);
    let found = shared.iter().find(|(other, _)| *other == ground).and_then(|(_, config)| config.upgrade());
    if let Some(config) = found {
        return Ok(Trust(config));
    }
    let config = Arc::new(config(&ground, ca_file.as_deref())?);
    shared.push((ground, Arc::downgrade(&config)));
    Ok(Trust(config))
}

fn read_authorities(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |why: &dyn std::fmt::Display| format!("the ca_file {path:?} cannot be read ({why}); correct its path");
    let metadata = std::fs::metadata(path).map_err(|error| cannot(&error))?;
    if !metadata.is_file() || metadata.len() > MAX_CA_FILE {
        return Err(cannot(&format_args!("it is no file, or larger than {MAX_CA_FILE} bytes")));
    }
    std::fs::read(path).map_err(|error| cannot(&error))
}

fn config(ground: &Ground, ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() });
    let verifier = verifier(ground, ca_file, &provider)?;
    // Both ends are ours, and what the older version needs is a tenth of the library.
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(|error| format!("TLS cannot be set up ({error})"))?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(REMEMBERED_SERVERS);
    Ok(config)
}

/// Clients show no certificates and so sign nothing, which keeps the code that signs out of the library.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("clients have no keys".to_owned()))
    }
}

fn verifier(ground: &Ground, ca_file: Option<&Path>, provider: &Arc<CryptoProvider>) -> Result<Verifier, String> {
    let roots = match (&ground.authorities, ground.pinned_key, ground.insecure) {
        (_, _, true) | (None, Some(_), _) => None,
        (Some(pem), ..) => Some(authorities_in(pem, ca_file.unwrap_or(Path::new("")))?),
        (None, None, _) => Some(authorities_of_the_platform()?),
    };
    Ok(Verifier { roots, pinned_key: ground.pinned_key, insecure: ground.insecure, provider: provider.clone() })
}

fn authorities_in(pem: &[u8], path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("the ca_file {path:?} is not PEM ({error:?})"))?;
        roots.add(certificate).map_err(|error| {
            format!("the ca_file {path:?} has a certificate that is no authority's ({error}); remove it")
        })?;
    }
    if roots.is_empty() {
        return Err(format!("the ca_file {path:?} has no certificate in PEM form; name the authority's certificate"));
    }
    Ok(roots)
}

fn authorities_of_the_platform() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, ignored) = roots.add_parsable_certificates(found.certs);
    log::debug!("{taken} authorities of the platform are trusted, {ignored} cannot be used");
    if taken > 0 {
        return Ok(roots);
    }
    let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
    Err(format!(
        "this machine has no list of authorities ({}); install ca-certificates, or name a ca_file",
        errors.join(", ")
    ))
}

/// Checks a server's certificate.
#[derive(Debug)]
struct Verifier {
    /// One of them must stand at the end of the chain; `None` where a pinned key stands for the chain.
    roots: Option<RootCertStore>,
    pinned_key: Option<[u8; 32]>,
    insecure: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn check_pin(&self, certificate: &ParsedCertificate<'_>) -> Result<(), Error> {
        let Some(pinned) = self.pinned_key else { return Ok(()) };
        let presented: [u8; 32] = Sha256::digest(certificate.subject_public_key_info()).into();
        if presented == pinned {
            return Ok(());
        }
        let presented = presented.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(WrongPin { presented })))))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.insecure {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if let Some(roots) = &self.roots {
            // The chain, the dates and the purpose.
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        verify_server_name(&certificate, server_name)?;
        self.check_pin(&certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
