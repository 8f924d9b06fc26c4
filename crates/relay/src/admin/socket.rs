//! The operator's socket: a file that only the relay's own user, and root, can open.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use crate::store::random_hex;

/// Requests that are served at once.
const MAX_CONNECTIONS: usize = 64;
/// A request's head must be here within this time.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// After an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that is listened on; its file goes with it.
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Which file it is: a later relay may have put its own in its place.
    inode: u64,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`. What stands there from an earlier run is replaced, and nobody else can ever connect: the socket
/// gets its mode in a directory that nobody else can enter.
pub(crate) fn listen(path: &Path) -> io::Result<Listener> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket stands there"));
    }
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The path of a socket is short, so this is, too.
    let private = beside.join(format!(".{}", random_hex()?.get(..8).unwrap_or("admin")));
    DirBuilder::new().mode(0o700).create(&private)?;
    let bound = bind(&private.join("s"), path);
    let _ = fs::remove_dir_all(&private);
    let listener = bound?;
    let inode = fs::symlink_metadata(path)?.ino();
    Ok(Listener { listener, path: path.to_owned(), inode })
}

fn bind(at: &Path, path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(at)?;
    fs::set_permissions(at, Permissions::from_mode(0o600))?;
    fs::rename(at, path)?;
    Ok(listener)
}

/// Serves requests until the relay stops.
pub(crate) async fn serve(socket: Listener, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = std::sync::Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "the operator's socket accepts nothing for now; going on trying");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (router, mut stopped) = (router.clone(), stopped.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = answer(stream, router) => {}
                _ = stopped.changed() => {}
            }
            drop(place);
        });
    }
}

async fn answer(stream: UnixStream, router: Router) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await {
        debug!(%error, "a request on the operator's socket broke");
    }
}
