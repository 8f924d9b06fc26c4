//! Files that servers send: tokens, uploads, and what becomes of them.
//!
//! * `settings`: what an operator can set.
//! * `tokens`: each lets one sender send one file to one target.
//! * `request`: what a quest with a file asks for.
//! * `upload`: one file on its way in.
//! * `chunked`: files that come in chunks.
//! * `thumbnail`: small pictures of images.

mod chunked;
mod request;
mod settings;
#[cfg(test)]
mod tests;
mod thumbnail;
mod tokens;
mod upload;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crvideo_proto::frame::Frame;
use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::Params;
use crvideo_proto::rtm::reader::Reader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::chunked::Uploads;
use self::tokens::Tokens;
use super::{Message, Refusal, Target};
use crate::guard::{Budget, Place};
use crate::http::{self, Served};
use crate::store::{Blob, Blobs, Later, Watch};

pub use self::settings::FileSettings;
pub(crate) use self::settings::Section;
pub(crate) use self::upload::Upload;

/// The quests about files in chunks.
pub(crate) const CHUNK_METHODS: [&str; 3] = ["crupbegin", "crupdata", "crupend"];

/// Uploads under way at once.
const MAX_UPLOADS: usize = 4_096;

/// What takes a message to those it is for.
pub(crate) trait Deliver: Send + Sync {
    /// Sends a message; a refusal means that nobody got it.
    fn deliver(&self, message: Message) -> Later<'_, Result<(), Refusal>>;
}

/// The file gate's state, shared by its connections.
pub(crate) struct Files {
    blobs: Arc<dyn Blobs>,
    deliver: Arc<dyn Deliver>,
    tokens: Tokens,
    /// Every project's largest file, 0 for no limit of its own.
    max_file_by_project: HashMap<i64, u64>,
    max_size: usize,
    max_chunked_size: u64,
    max_targets: usize,
    require_sign: bool,
    /// What the addresses of files begin with; without HTTP there is none, and no file is taken.
    base_url: Option<String>,
    places: Arc<Semaphore>,
    thumbnails: Arc<Semaphore>,
    chunked: Uploads,
    uploading: Arc<Budget>,
    unauthorised: Arc<Budget>,
    /// The memory of what has come and is not on the disk yet.
    memory: Arc<Budget>,
}

/// What [`Files`] are made of.
pub(crate) struct Parts<'a> {
    /// What an operator has set.
    pub(crate) settings: &'a FileSettings,
    /// Every project with its largest file, 0 for no limit of its own.
    pub(crate) projects: HashMap<i64, u64>,
    /// A list of targets has at most so many users.
    pub(crate) max_targets: usize,
    /// Where HTTP is served, if at all.
    pub(crate) http: Option<Served>,
    /// Where files are stored.
    pub(crate) blobs: Arc<dyn Blobs>,
    /// What takes a message to those it is for.
    pub(crate) deliver: Arc<dyn Deliver>,
    /// What the memory of files on their way to the disk is charged to.
    pub(crate) memory: Arc<Budget>,
}

/// Another file from an address that sends as many as it may.
fn crowded() -> Refusal {
    Refusal::new(code::QUEUE_FULL, "too many files come from your address at once; send it again later")
}

impl Files {
    /// A file gate.
    pub(crate) fn new(parts: Parts<'_>) -> Arc<Self> {
        let Parts { settings, projects, max_targets, http, blobs, deliver, memory } = parts;
        let base_url = http.map(|Served { address, encrypted }| {
            settings.public_url.clone().unwrap_or_else(|| {
                if address.ip().is_unspecified() {
                    tracing::warn!(%address, "clients cannot reach files by this address; set files.public_url");
                }
                format!("{}://{address}", if encrypted { "https" } else { "http" })
            })
        });
        if base_url.is_none() {
            tracing::warn!("no files are taken from RTM senders, because there is no HTTP listener to serve them from");
        }
        let files = Arc::new(Self {
            blobs,
            deliver,
            tokens: Tokens::new(settings.token_life),
            max_file_by_project: projects,
            max_size: usize::try_from(settings.max_size).unwrap_or(usize::MAX),
            max_chunked_size: settings.max_chunked_size,
            max_targets,
            require_sign: settings.require_sign,
            base_url: base_url.map(|url| url.trim_end_matches('/').to_owned()),
            places: Arc::new(Semaphore::new(MAX_UPLOADS)),
            thumbnails: Arc::new(thumbnail::places()),
            chunked: Uploads::default(),
            uploading: Budget::new(settings.max_uploading),
            unauthorised: Budget::new(settings.max_unauthorised),
            memory,
        });
        tokio::spawn(chunked::keep_looking(Arc::downgrade(&files)));
        files
    }

    /// A reader for a connection to the file gate.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.max_size)
    }

    /// A token for one file from `from` to `target`. `watch` hears what becomes of it.
    pub(crate) fn issue_token(
        &self,
        project: i64,
        from: i64,
        target: &Target,
        watch: Option<Watch>,
    ) -> Result<String, Refusal> {
        self.check_enabled()?;
        self.tokens.issue(project, from, target, watch)
    }

    /// A quest with a file begins; `quest` is its frame without the payload.
    /// `of_address` is its place among those of its sender's address, if there is one.
    pub(crate) fn begin(self: &Arc<Self>, quest: Frame, of_address: Option<Place>) -> Upload {
        let place = self
            .check_enabled()
            .and_then(|()| self.place())
            .and_then(|place| Ok((place, of_address.ok_or_else(crowded)?)));
        Upload::new(self.clone(), quest, place)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let text = "the relay receives too many files at once; send it again later";
        self.places.clone().try_acquire_owned().map_err(|_| Refusal::new(code::QUEUE_FULL, text))
    }

    /// A quest with a file that came whole, because its payload is JSON.
    pub(crate) async fn whole(self: &Arc<Self>, frame: &Frame, of_address: Option<Place>) -> Option<Frame> {
        let mut upload = self.begin(Frame { payload: bytes::Bytes::new(), ..frame.clone() }, of_address);
        let params = Params::of(frame);
        let params = match params.and_then(|params| params.bytes("file").map(|file| (params, file))) {
            Err(error) => Err(error),
            Ok((params, file)) => {
                upload.file(file.len(), &params).await;
                upload.piece(file).await;
                Ok(params)
            }
        };
        upload.end(params).await
    }

    fn check_enabled(&self) -> Result<(), Refusal> {
        let text = "this relay takes no files, because it has no HTTP listener to serve them from";
        self.base_url.as_ref().map(|_| ()).ok_or_else(|| Refusal::new(code::NOT_ENABLED, text))
    }

    /// Whether a project is known, and takes a file of this size.
    fn check_project(&self, project: i64, size: u64) -> Result<(), Refusal> {
        let Some(most) = self.max_file_by_project.get(&project) else {
            return Err(Refusal::new(code::BAD_ID, format!("there is no project {project}")));
        };
        if *most > 0 && size > *most {
            return Err(Refusal::new(code::TOO_LARGE, format!("the file has more than {most} bytes")));
        }
        Ok(())
    }

    /// Where a stored file can be downloaded.
    fn url(&self, blob: &Blob) -> String {
        let base = self.base_url.as_deref().unwrap_or_default();
        format!("{base}{}", http::path(blob))
    }
}

fn unix_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}
