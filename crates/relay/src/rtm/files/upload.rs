//! One file on its way in.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crvideo_proto::frame::{Frame, Kind};
use crvideo_proto::rtm::params::{Fields, ParamError, Params, to_json};
use crvideo_proto::rtm::{self, code, sign};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, error};

use super::Files;
use super::request::{self, Request, Sender};
use super::thumbnail::IMAGE;
use super::tokens::{Claim, LONGEST_UPLOAD};
use crate::guard::{Place, Share};
use crate::rtm::{Message, Refusal};
use crate::store::{About, Blob, BlobError, Spool, Spooled};

/// After so long an upload must have kept up [`MIN_RATE`], or it only holds what others could use.
const GRACE: Duration = Duration::from_secs(30);
/// Bytes of a file that must come in a second, on average.
const MIN_RATE: u64 = 1024;
/// The same as long as nobody knows whose it is: a stranger who trickles must not hold a place for long.
const MIN_RATE_OF_STRANGERS: u64 = 16 * 1024;

/// A quest with a file that is being read. The connection's task hands it what its reader says, and waits for it: so
/// a disk that is behind slows down those who upload and nobody else.
pub(crate) struct Upload {
    files: Arc<Files>,
    /// Without its payload.
    quest: Frame,
    began: Instant,
    /// The file, or why it is not wanted any more.
    content: Result<Spool, Refusal>,
    received: u64,
    /// What it takes of the budget of all uploads.
    share: Share,
    /// The memory of what is not on the disk yet.
    memory: Share,
    /// What it takes of the budget of those whose token has not been seen yet.
    unauthorised: Option<Share>,
    /// Its place among all uploads under way, and among those of its address.
    _place: Option<(OwnedSemaphorePermit, Place)>,
}

impl Upload {
    pub(super) fn new(files: Arc<Files>, quest: Frame, place: Result<(OwnedSemaphorePermit, Place), Refusal>) -> Self {
        let (place, content) = match place {
            Ok(place) => (Some(place), Ok(files.blobs.spool())),
            Err(refusal) => (None, Err(refusal)),
        };
        let share = Share::of(&files.uploading);
        let unauthorised = Some(Share::of(&files.unauthorised));
        let (began, memory) = (Instant::now(), Share::of(&files.memory));
        Self { files, quest, began, content, received: 0, share, memory, unauthorised, _place: place }
    }

    /// Until when all of it must be here, or the connection is lost.
    pub(crate) fn deadline(&self) -> tokio::time::Instant {
        (self.began + LONGEST_UPLOAD).into()
    }

    /// Gives the file up; the quest's rest is read and dropped, and then answered with the reason.
    fn refuse(&mut self, refusal: Refusal) {
        if self.content.is_ok() {
            self.content = Err(refusal);
            // What it held is free at once, and not when the sender has sent all.
            self.share = Share::of(&self.files.uploading);
            self.memory.set(0);
            self.unauthorised = None;
        }
    }

    /// The file begins: `len` bytes as claimed, after these parameters.
    pub(crate) async fn file(&mut self, len: usize, before: &Params) {
        if self.content.is_err() {
            return;
        }
        let sender = Sender::read(before);
        if let Ok(sender) = &sender {
            let known = self.files.check_project(sender.project, len as u64);
            let checked =
                known.and_then(|()| self.files.tokens.check(&sender.token, sender.project, sender.from, self.began));
            if let Err(refusal) = checked {
                return self.refuse(refusal);
            }
            self.unauthorised = None;
        }
        let project = sender.as_ref().map_or(0, |sender| sender.project);
        if let Err(error) = self.files.blobs.check_room(project, len as u64).await {
            self.refuse(refusal_of(error));
        }
    }

    /// More of the file.
    pub(crate) async fn piece(&mut self, bytes: Bytes) {
        self.received += bytes.len() as u64;
        let seconds = self.began.elapsed().as_secs();
        let least = if self.unauthorised.is_some() { MIN_RATE_OF_STRANGERS } else { MIN_RATE };
        if seconds > GRACE.as_secs() && self.received < seconds * least {
            return self.refuse(Refusal::new(code::TIMEOUT, "the file comes too slowly; send it again"));
        }
        let len = bytes.len() as u64;
        let early = self.unauthorised.as_mut().is_none_or(|share| share.take(len));
        let Ok(spool) = &mut self.content else { return };
        if !early || !self.share.take(len) {
            let text = match early {
                true => "the relay receives too many files at once; send it again later",
                false => {
                    "the relay receives too many files before their tokens; put pid, from and token before the file, \
                     or send it again later"
                }
            };
            return self.refuse(Refusal::new(code::QUEUE_FULL, text));
        }
        let written = spool.write(&bytes).await;
        self.memory.set(spool.memory());
        if let Err(error) = written {
            self.refuse(refusal_of(error.into()));
        }
    }

    /// The quest has been read to its end. Gives its answer, `None` where none is due. The work goes on when nobody
    /// waits for the answer any more, so that a file is sent whole or not at all.
    pub(crate) fn end(self, end: Result<Params, ParamError>) -> impl Future<Output = Option<Frame>> + Send + 'static {
        let quest = self.quest.clone();
        let work = tokio::spawn(self.complete(end));
        async move {
            let outcome = work.await.unwrap_or_else(|error| {
                error!(%error, "a file could not be stored");
                Err(Refusal::new(code::UNKNOWN, "the relay could not store the file; see its log"))
            });
            let answer = match outcome {
                Ok(mtime) => rtm::answer(&quest, Fields::new().int("mtime", mtime)),
                Err(refusal) => {
                    debug!(method = quest.method(), code = refusal.code, text = refusal.text, "a file is refused");
                    rtm::error(&quest, refusal.code, &refusal.text)
                }
            };
            (quest.kind == Kind::Quest).then_some(answer)
        }
    }

    async fn complete(self, end: Result<Params, ParamError>) -> Result<i64, Refusal> {
        let params = end?;
        let spool = self.content?;
        let files = self.files;
        let sender = Sender::read(&params)?;
        files.check_project(sender.project, self.received)?;
        files.tokens.check(&sender.token, sender.project, sender.from, self.began)?;
        let target = request::target(self.quest.method(), &params, files.max_targets)?;
        let request = Request::read(target, &params)?;
        let Sender { project, from, token } = &sender;
        let claim = files.tokens.claim(token, *project, *from, &request.target, self.began).await?;
        files.send(spool, sender, request, claim).await
    }
}

impl Files {
    /// Stores a file that is complete and sends it. Whoever it is for hears of it, or it is not stored.
    pub(super) async fn send(
        &self,
        spool: Spool,
        sender: Sender,
        request: Request,
        claim: Claim,
    ) -> Result<i64, Refusal> {
        let content = spool.finish().await.map_err(|error| refusal_of(error.into()))?;
        self.check_sign(&request, &content, &sender.token)?;
        let about = About { project: sender.project, name: request.file_name() };
        let blob = self.blobs.keep(content, about).await.map_err(refusal_of)?;
        let picture = if request.mtype == IMAGE { self.thumbnail(&blob).await } else { None };
        let ids = [Some(blob.id.clone()), picture.as_ref().map(|picture| picture.id.clone())];
        let mtime = super::unix_millis();
        let message = Message { watch: claim.watch(), ..message_of(self, blob, picture, sender, request, mtime) };
        if let Err(refusal) = self.deliver.deliver(message).await {
            // Nobody has heard of the file, so nobody could ask for it.
            for id in ids.into_iter().flatten() {
                if let Err(error) = self.blobs.remove(id).await {
                    error!(%error, "a file that could not be sent stays until it expires");
                }
            }
            return Err(refusal);
        }
        claim.used();
        Ok(mtime)
    }

    fn check_sign(&self, request: &Request, content: &Spooled, token: &str) -> Result<(), Refusal> {
        match &request.attrs.sign {
            Some(sign) if sign::is_file_sign(sign, &content.md5, token) => Ok(()),
            Some(_) => {
                let text = "the file's signature in attrs is not MD5(MD5(file) + \":\" + token)";
                Err(Refusal::new(code::BAD_FILE, text))
            }
            None if self.require_sign => {
                Err(Refusal::new(code::ATTRS_INCOMPLETE, "the attrs have no \"sign\", and this relay asks for one"))
            }
            None => Ok(()),
        }
    }
}

fn message_of(
    files: &Files,
    blob: Blob,
    picture: Option<Blob>,
    sender: Sender,
    request: Request,
    mtime: i64,
) -> Message {
    let (url, surl) = (files.url(&blob), picture.map(|picture| files.url(&picture)).unwrap_or_default());
    let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
    let body = to_json(&Fields::new().text("url", &url).int("size", size).text("surl", &surl).finish());
    Message {
        project: sender.project,
        from: sender.from,
        target: request.target,
        mtype: request.mtype,
        mid: request.mid,
        mtime,
        body,
        attrs: request.attrs.to_push(),
        blob: Some(blob.id.as_str().to_owned()),
        watch: None,
    }
}

pub(super) fn refusal_of(error: BlobError) -> Refusal {
    match error {
        BlobError::Quota(most) => {
            let text = format!("the project's stored files would take more than {most} bytes; send it again later");
            Refusal::new(code::QUEUE_FULL, text)
        }
        BlobError::Full => {
            error!("files are refused because the disk is full, or would be fuller than files.min_free_percent allows");
            Refusal::new(code::UNKNOWN, "the relay's disk is full; send it again later")
        }
        BlobError::Disk(error) => {
            error!(%error, "a file could not be stored");
            Refusal::new(code::UNKNOWN, "the relay cannot use its disk just now; send it again later")
        }
        BlobError::Store(error) => error.into(),
    }
}
