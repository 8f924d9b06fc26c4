//! The certificate and its key, from files. When the files change, new connections get what is new; a pair that cannot
//! be used is an error in the log, and the one of before stays.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use tokio::sync::watch;
use tracing::{error, info};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What tells a file from what it was before.
type Mark = Option<(SystemTime, u64, u64)>;

/// The certificate that new connections see.
#[derive(Debug)]
pub(crate) struct Identity {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    seen: Mutex<Seen>,
}

/// What the files were.
#[derive(Debug, Default)]
struct Seen {
    /// When they were loaded, or found to be bad for good.
    settled: [Mark; 2],
    /// When they were found to be bad first: one of the two may still be on its way.
    doubtful: Option<[Mark; 2]>,
}

impl Identity {
    /// Loads it. What is wrong is one sentence that names the file and the cure.
    pub(crate) fn load(cert: PathBuf, key: PathBuf) -> Result<Self, String> {
        // Marks first: what changes while the files are read is seen at the next look.
        let settled = marks(&cert, &key);
        let current = RwLock::new(Arc::new(read(&cert, &key)?));
        Ok(Self { cert, key, current, seen: Mutex::new(Seen { settled, doubtful: None }) })
    }

    /// Looks whether the files have changed, and then loads them.
    fn refresh(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = marks(&self.cert, &self.key);
        if now == seen.settled {
            seen.doubtful = None;
            return;
        }
        match self.reload() {
            Ok(()) => *seen = Seen { settled: now, doubtful: None },
            Err(_) if seen.doubtful != Some(now) => seen.doubtful = Some(now),
            Err(why) => {
                error!("the certificate stays as it is, because {why}");
                *seen = Seen { settled: now, doubtful: None };
            }
        }
    }

    /// Loads the files now, whether they seem changed or not.
    pub(crate) fn reload_now(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Seen { settled: marks(&self.cert, &self.key), doubtful: None };
        if let Err(why) = self.reload() {
            error!("the certificate stays as it is, because {why}");
        }
    }

    fn reload(&self) -> Result<(), String> {
        let fresh = Arc::new(read(&self.cert, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        info!(cert = %self.cert.display(), "new connections get the certificate that is in the file now");
        Ok(())
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Looks at the files now and then until the relay stops.
pub(crate) async fn keep_fresh(identity: Arc<Identity>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stopped.changed() => return,
        }
        let looked = identity.clone();
        if tokio::task::spawn_blocking(move || looked.refresh()).await.is_err() {
            return;
        }
    }
}

fn marks(cert: &Path, key: &Path) -> [Mark; 2] {
    [cert, key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), inode(&metadata)))
    })
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let chain = read_chain(cert)?;
    let key_der = read_key(key)?;
    CertifiedKey::from_der(chain, key_der, &ring::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "the key in {key:?} (tls.key) does not belong to the certificate in {cert:?} (tls.cert), which must come \
             first there; name the right pair"
        ),
        Error::InvalidCertificate(error) => {
            format!("the certificate in {cert:?} (tls.cert) cannot be read ({error}); have it issued again")
        }
        _ => format!(
            "the key in {key:?} (tls.key) cannot be used ({error}); use ECDSA on P-256 or P-384, Ed25519, or RSA with \
             2048 to 8192 bits"
        ),
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path)
        .map_err(|error| format!("the file {path:?} of tls.cert cannot be read ({error}); correct it"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| format!("the file {path:?} of tls.cert is damaged ({error}); write it again"))?;
    if chain.is_empty() {
        return Err(format!("the file {path:?} of tls.cert has no certificate in PEM form; put the chain into it"));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = std::fs::read(path)
        .map_err(|error| format!("the file {path:?} of tls.key cannot be read ({error}); correct it"))?;
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| pem.windows(mark.len()).any(|window| window == *mark)) {
        return Err(format!(
            "the key in {path:?} (tls.key) is encrypted, and the relay has nobody to ask for its password; decrypt it \
             with openssl pkey -in FILE -out FILE.plain"
        ));
    }
    match PrivateKeyDer::pem_slice_iter(&pem).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => Err(format!("the file {path:?} of tls.key is damaged ({error}); write it again")),
        None => Err(format!("the file {path:?} of tls.key has no private key in PEM form; name the key's file")),
    }
}
