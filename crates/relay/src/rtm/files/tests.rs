//! Files from a connection's bytes to the message that is sent, without a socket.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::frame::{FLAG_JSON, FLAG_MSGPACK, Kind};
use crvideo_proto::rtm::params::{Fields, ParamError, Params, to_json};
use crvideo_proto::rtm::reader::Event;
use crvideo_proto::rtm::sign::file_sign;
use crvideo_proto::rtm::{quest, read_answer};

use super::*;
use crate::guard::Budget;
use crate::store::{BlobId, Database, Limits, LocalBlobs};

const PID: i64 = 11_000_001;

/// Takes messages, or refuses them.
#[derive(Default)]
struct Receivers {
    got: Mutex<Vec<Message>>,
    refusal: Mutex<Option<Refusal>>,
}

impl Deliver for Receivers {
    fn deliver(&self, message: Message) -> Later<'_, Result<(), Refusal>> {
        Box::pin(async move {
            if let Some(refusal) = self.refusal.lock().unwrap().clone() {
                return Err(refusal);
            }
            self.got.lock().unwrap().push(message);
            Ok(())
        })
    }
}

/// A place for an upload from an address that is not counted.
fn place() -> Option<crate::guard::Place> {
    crate::guard::Crowd::new(0, 0, false).enter([127, 0, 0, 1].into())
}

struct Ground {
    files: Arc<Files>,
    blobs: Arc<LocalBlobs>,
    receivers: Arc<Receivers>,
    directory: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Ground {
    async fn new(change: impl FnOnce(&mut FileSettings)) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().to_owned();
        Self { _temporary: Some(temporary), ..Self::at(&directory, change).await }
    }

    /// On a directory that outlives it.
    async fn at(directory: &Path, change: impl FnOnce(&mut FileSettings)) -> Self {
        let mut settings = FileSettings { min_free_percent: 0, max_size: 1 << 20, ..FileSettings::default() };
        change(&mut settings);
        let database = Database::open(Some(directory)).unwrap();
        let limits = Limits {
            keep: settings.keep,
            project_quota: settings.project_quota,
            min_free_percent: settings.min_free_percent,
        };
        let blobs = Arc::new(LocalBlobs::open(Some(directory), database, limits).await.unwrap());
        let receivers = Arc::new(Receivers::default());
        let files = Files::new(Parts {
            settings: &settings,
            projects: HashMap::from([(PID, 0), (7, 100)]),
            max_targets: 3,
            http: Some(crate::http::Served { address: "127.0.0.1:80".parse().unwrap(), encrypted: false }),
            blobs: blobs.clone(),
            deliver: receivers.clone(),
            memory: Budget::new(u64::MAX),
        });
        Self { files, blobs, receivers, directory: directory.to_owned(), _temporary: None }
    }

    fn token(&self, target: &Target) -> String {
        self.files.issue_token(PID, 100, target, None).unwrap()
    }

    /// What a connection gets for its bytes, that are fed in pieces of `step` bytes.
    async fn answers(&self, bytes: &[u8], step: usize) -> Vec<Frame> {
        let (mut reader, mut upload, mut answers) = (self.files.reader(), None, Vec::new());
        for piece in bytes.chunks(step) {
            reader.feed(piece);
            while let Some(event) = reader.next_event().unwrap() {
                match event {
                    Event::Begin { quest, .. } => upload = Some(self.files.begin(quest, place())),
                    Event::File { len, before } => upload.as_mut().unwrap().file(len, &before).await,
                    Event::Piece(bytes) => upload.as_mut().unwrap().piece(bytes).await,
                    Event::End(end) => answers.extend(upload.take().unwrap().end(end).await),
                    Event::Frame(frame) => answers.extend(self.files.whole(&frame, place()).await),
                    Event::TooLarge { .. } => panic!("too large"),
                }
            }
        }
        answers
    }

    async fn send(&self, method: &'static str, fields: Fields) -> Result<i64, (i32, String)> {
        let answers = self.answers(&encoded(&quest(5, method, fields)), 70_000).await;
        let [answer] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!((answer.kind, answer.seq), (Kind::Answer, 5));
        read_answer(answer).map(|params| params.int("mtime").unwrap())
    }

    async fn refused(&self, method: &'static str, fields: Fields) -> (i32, String) {
        let refused = self.send(method, fields).await.unwrap_err();
        assert_eq!(self.receivers.got.lock().unwrap().len(), 0, "{refused:?}");
        self.cleared().await;
        refused
    }

    /// Waits until nothing is left: a write that was under way when its upload went is finished first.
    async fn cleared(&self) {
        let cleared = async {
            while self.left() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), cleared).await.expect("something is left behind");
    }

    /// Files on the disk that belong to content.
    fn left(&self) -> usize {
        fn count(path: &Path) -> usize {
            std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .fold(0, |sum, path| sum + if path.is_dir() { count(&path) } else { 1 })
        }
        count(&self.directory.join("files"))
    }

    fn got(&self) -> Vec<Message> {
        self.receivers.got.lock().unwrap().clone()
    }

    async fn stored(&self, message: &Message) -> (Blob, Vec<u8>) {
        let body = String::from_utf8(message.body.to_vec()).unwrap();
        let id = body.split("/files/").nth(1).unwrap().split('/').next().unwrap();
        let blob = self.blobs.find(BlobId::parse(id).unwrap()).await.unwrap().unwrap();
        assert!(body.contains(&format!("\"url\":\"{}\"", self.files.url(&blob))), "{body}");
        assert!(body.contains(&format!("\"size\":{}", blob.size)), "{body}");
        assert!(body.contains("\"surl\":\"\""), "{body}");
        let content = self.blobs.open(blob.clone()).await.unwrap();
        let (_, bytes) = content.read(0, blob.size as usize).await.unwrap();
        (blob, bytes.to_vec())
    }
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

fn md5(bytes: &[u8]) -> String {
    let mut hasher = crvideo_proto::rtm::sign::FileHasher::default();
    hasher.update(bytes);
    hasher.finish()
}

fn attrs(token: &str, file: &[u8]) -> String {
    let sign = file_sign(&md5(file), token);
    format!(r#"{{"rtm":{{"sign":"{sign}","ext":"txt","filename":"name"}},"custom":"c"}}"#)
}

/// All that a good quest has, but for the target and the file.
fn good(token: &str, file: &[u8]) -> Fields {
    let fields = Fields::new().int("pid", PID).text("token", token).int("mtype", 50).int("from", 100);
    fields.int("mid", -9).text("attrs", &attrs(token, file))
}

// ---- what works -------------------------------------------------------------------------------------------

#[tokio::test]
async fn each_kind_of_file_is_stored_once_and_sent_once() {
    let ground = Ground::new(|_| {}).await;
    let file = b"hello rtm file\n";
    let kinds: [(&str, Target, Fields); 5] = [
        ("sendfile", Target::User(200), Fields::new().int("to", 200)),
        ("sendfiles", Target::Users(vec![200, 201, 202]), Fields::new().ints("tos", &[200, 201, 202])),
        ("sendgroupfile", Target::Group(4), Fields::new().int("gid", 4)),
        ("sendroomfile", Target::Room(5), Fields::new().int("rid", 5)),
        ("broadcastfile", Target::Everyone, Fields::new()),
    ];
    for (at, (method, target, _)) in kinds.into_iter().enumerate() {
        let token = ground.token(&target);
        // Some SDKs send all targets at once; the method's counts.
        let fields = good(&token, file).bytes("file", file);
        let fields = fields.int("to", 200).int("gid", 4).int("rid", 5).ints("tos", &[200, 201, 202]);
        let mtime = ground.send(method, fields).await.unwrap();
        let got = ground.got();
        assert_eq!(got.len(), at + 1);
        let message = got.last().unwrap();
        assert_eq!((message.project, message.from, &message.target), (PID, 100, &target));
        assert_eq!((message.mtype, message.mid, message.mtime), (50, -9, mtime));
        assert_eq!(message.attrs, r#"{"custom":"c","rtm":{"ext":"txt","filename":"name"}}"#);
        let (blob, content) = ground.stored(message).await;
        assert_eq!((blob.name.as_str(), content.as_slice()), ("name.txt", file.as_slice()));
        assert_eq!(ground.left(), at + 1);
    }
}

#[tokio::test]
async fn an_image_is_sent_with_the_address_of_a_small_picture_and_goes_with_it() {
    let ground = Ground::new(|_| {}).await;
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(640, 320).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let png = png.into_inner();
    let send = async |mtype: i64| {
        let token = ground.token(&Target::User(200));
        let fields = Fields::new().int("pid", PID).text("token", &token).int("mtype", mtype).int("from", 100);
        let fields = fields.int("mid", 1).int("to", 200).text("attrs", &attrs(&token, &png)).bytes("file", &png);
        ground.send("sendfile", fields).await
    };
    *ground.receivers.refusal.lock().unwrap() = Some(Refusal::new(code::GROUP_EMPTY, "nobody"));
    send(40).await.unwrap_err();
    ground.cleared().await;
    *ground.receivers.refusal.lock().unwrap() = None;
    for (mtype, pictures) in [(50, 0), (40, 1)] {
        let before = ground.left();
        send(mtype).await.unwrap();
        assert_eq!(ground.left(), before + 1 + pictures);
        let body = String::from_utf8(ground.got().last().unwrap().body.to_vec()).unwrap();
        let surl = body.split("\"surl\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        assert_eq!(surl.is_empty(), pictures == 0, "{body}");
        if let Some(id) = surl.split("/files/").nth(1) {
            let id = BlobId::parse(id.split('/').next().unwrap()).unwrap();
            let blob = ground.blobs.find(id.clone()).await.unwrap().unwrap();
            let (_, bytes) = ground.blobs.open(blob.clone()).await.unwrap().read(0, blob.size as usize).await.unwrap();
            let small = image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).unwrap();
            assert_eq!((small.width(), small.height(), blob.name.as_str()), (320, 160, "thumbnail.jpg"));
        }
    }
}

#[tokio::test]
async fn a_large_file_may_come_before_its_token_in_pieces_of_any_size() {
    let ground = Ground::new(|_| {}).await;
    let file: Vec<u8> = (0..700_000_u32).map(|at| (at % 253) as u8).collect();
    for step in [997, 65_536, usize::MAX] {
        let token = ground.token(&Target::User(200));
        let fields = Fields::new().bytes("file", &file).int("to", 200);
        let fields = fields.int("pid", PID).text("token", &token).int("mtype", 40).int("from", 100).int("mid", 1);
        let fields = fields.text("attrs", &attrs(&token, &file));
        let answers = ground.answers(&encoded(&quest(1, "sendfile", fields)), step).await;
        assert!(read_answer(&answers[0]).is_ok(), "{answers:?}");
        assert_eq!(ground.stored(ground.got().last().unwrap()).await.1, file);
    }
    assert_eq!(ground.files.uploading.used() + ground.files.unauthorised.used() + ground.files.memory.used(), 0);
}

#[tokio::test]
async fn signatures_are_found_in_every_shape_and_may_be_missing_unless_asked_for() {
    let ground = Ground::new(|_| {}).await;
    let strict = Ground::new(|settings| settings.require_sign = true).await;
    let fields = |token: &str, attrs: &str| {
        let fields = Fields::new().int("pid", PID).text("token", token).int("mtype", 50).int("from", 100);
        fields.int("mid", 1).text("attrs", attrs).text("file", "x").int("to", 200)
    };
    let token = ground.token(&Target::User(200));
    assert!(ground.send("sendfile", fields(&token, r#"{"custom":""}"#)).await.is_ok());
    let token = strict.token(&Target::User(200));
    assert_eq!(strict.refused("sendfile", fields(&token, r#"{"custom":""}"#)).await.0, code::ATTRS_INCOMPLETE);
    let flat = format!(r#"{{"sign":"{}","ext":"txt"}}"#, file_sign(&md5(b"x"), &token).to_uppercase());
    assert!(strict.send("sendfile", fields(&token, &flat)).await.is_ok());
}

#[tokio::test]
async fn a_quest_in_json_is_answered_in_json_and_a_one_way_one_not_at_all() {
    let ground = Ground::new(|_| {}).await;
    let token = ground.token(&Target::Everyone);
    let payload = to_json(&good(&token, b"text").text("file", "text").finish());
    let json = Frame { flags: FLAG_JSON, payload, ..quest(3, "broadcastfile", Fields::new()) };
    let answers = ground.answers(&encoded(&json), 10).await;
    assert_eq!((answers[0].flags, answers[0].status), (FLAG_JSON, 0), "{answers:?}");
    let bad = Frame { payload: Bytes::from_static(b"{}"), ..json };
    let answers = ground.answers(&encoded(&bad), 10).await;
    assert_eq!(read_answer(&answers[0]).unwrap_err().0, code::MISSING);
    let token = ground.token(&Target::Everyone);
    let one_way = rtm_one_way(good(&token, b"text").text("file", "text"));
    assert!(ground.answers(&encoded(&one_way), 10).await.is_empty());
    assert_eq!(ground.got().len(), 2);
}

fn rtm_one_way(fields: Fields) -> Frame {
    let frame = crvideo_proto::rtm::one_way("broadcastfile", fields);
    assert_eq!(frame.flags, FLAG_MSGPACK);
    frame
}

/// The bytes of a package that a real SDK has sent.
fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../proto/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let dump = text.lines().filter(|line| line.starts_with(|char: char| char.is_ascii_hexdigit()));
    let digits: String = dump.flat_map(|line| line[8..58].split_whitespace()).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn files_of_real_sdks_are_taken_and_answered_as_they_expect() {
    let one = Target::User(200);
    let vectors = [
        ("10-sendfile-quest-python-bin8", one.clone(), "file.txt"),
        ("12-sendfile-quest-node-flat-attrs", one.clone(), "file.txt"),
        ("13-sendfile-quest-cpp-str-nosign", one.clone(), "file"),
        ("15-sendfile-quest-go", one.clone(), "small.txt"),
        ("17-sendfile-quest-python-bin32-head", one.clone(), "file.bin"),
        ("19-sendfile-quest-node-stringcontent", one, "file.txt"),
        ("20-sendfiles-quest-python", Target::Users(vec![200, 201]), "file.txt"),
        ("21-sendgroupfile-quest-python", Target::Group(300), "file.txt"),
        ("22-sendroomfile-quest-python", Target::Room(400), "file.txt"),
        ("23-broadcastfile-quest-python", Target::Everyone, "file.txt"),
    ];
    let counting: Vec<u8> = (0..76_800).map(|at| at as u8).collect();
    for (name, target, file_name) in vectors {
        // The answer that the SDKs took is the pattern: only its sequence number and time differ.
        let mut expected = vector("11-sendfile-answer");
        let mut bytes = vector(name);
        if name.starts_with("17") {
            // Only the beginning was kept: the file counts up, and two parameters follow it.
            bytes.extend(&counting[bytes.len() - 0x62..]);
            let attrs = br#"{"rtm":{"sign":"3071ecfa98ac81f03f1a67c21cb62557", "ext":"bin"}}"#;
            bytes.extend([b"\xa2to\xcc\xc8\xa5attrs\xd9\x40".as_slice(), attrs].concat());
        }
        for step in [1, bytes.len()] {
            let ground = Ground::new(|_| {}).await;
            ground.files.tokens.plant("TOKEN0123456789ABCDEF", PID, 100, &target);
            let answers = ground.answers(&bytes, step).await;
            let [answer] = answers.as_slice() else { panic!("{name}: {answers:?}") };
            let message = ground.got().pop().unwrap_or_else(|| panic!("{name}: {answer:?}"));
            // Version and sequence number are those of the quest.
            expected[4] = bytes[4];
            expected[12..16].copy_from_slice(&bytes[12..16]);
            expected[24..].copy_from_slice(&message.mtime.to_be_bytes());
            assert_eq!(encoded(answer), expected, "{name}");
            assert_eq!((&message.target, message.mtype), (&target, 50), "{name}");
            let (blob, content) = ground.stored(&message).await;
            let expected = match &name[..2] {
                "17" => counting.as_slice(),
                "19" => "string content é".as_bytes(),
                _ => b"hello rtm file\n",
            };
            assert_eq!((blob.name.as_str(), content.as_slice()), (file_name, expected), "{name}");
            let used = ground.answers(&bytes, step).await;
            assert_eq!(read_answer(&used[0]).unwrap_err().0, code::BAD_FILE, "{name}");
        }
    }
}

// ---- what is refused --------------------------------------------------------------------------------------

#[tokio::test]
async fn bad_tokens_senders_and_targets_are_named() {
    let ground = Ground::new(|_| {}).await;
    let token = ground.token(&Target::User(200));
    let with = |token: &str, pid: i64, from: i64, to: i64| {
        let fields = Fields::new().int("pid", pid).text("token", token).int("mtype", 50).int("from", from);
        fields.int("mid", 1).text("attrs", &attrs(token, b"x")).text("file", "x").int("to", to).int("gid", to)
    };
    let cases: [(&str, Fields, i32, &str); 6] = [
        ("sendfile", with("ffff", PID, 100, 200), code::BAD_FILE, "unknown"),
        ("sendfile", with(&token, 7, 100, 200), code::BAD_FILE, "unknown"),
        ("sendfile", with(&token, 8, 100, 200), code::BAD_ID, "no project 8"),
        ("sendfile", with(&token, PID, 101, 200), code::BAD_FILE, "another sender"),
        ("sendfile", with(&token, PID, 100, 201), code::BAD_FILE, "another target"),
        ("sendgroupfile", with(&token, PID, 100, 200), code::BAD_FILE, "is for sendfile"),
    ];
    for (method, fields, code, text) in cases {
        let refused = ground.refused(method, fields).await;
        assert_eq!(refused.0, code, "{refused:?}");
        assert!(refused.1.contains(text), "{refused:?}");
    }
    assert!(ground.send("sendfile", with(&token, PID, 100, 200)).await.is_ok());
    let used = ground.send("sendfile", with(&token, PID, 100, 200)).await.unwrap_err();
    assert!(used.0 == code::BAD_FILE && used.1.contains("used"), "{used:?}");
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let ground = Ground::new(|_| {}).await;
    let token = ground.token(&Target::User(200));
    let long = format!(r#"{{"custom":"{}"}}"#, "x".repeat(2_048));
    let base = || Fields::new().int("pid", PID).text("token", &token).int("from", 100).int("to", 200).text("file", "x");
    let with = |mtype: i64, attrs: &str| base().int("mid", 1).int("mtype", mtype).text("attrs", attrs);
    let cases: [(Fields, i32, &str); 12] = [
        (with(0, "{}"), code::BAD_MTYPE, "mtype 0"),
        (with(128, "{}"), code::BAD_MTYPE, "mtype 128"),
        (with(39, "{}"), code::BAD_FILE_MTYPE, "mtype 39"),
        (with(51, "{}"), code::BAD_FILE_MTYPE, "mtype 51"),
        (with(50, "[]"), code::BAD_PARAM, "JSON object"),
        (with(50, &long), code::TOO_LARGE, "attrs"),
        (with(50, r#"{"rtm":{"sign":"06034655594d0bf7831262432915420d"}}"#), code::BAD_FILE, "signature"),
        (base().int("mid", 1).text("mtype", "x").text("attrs", "{}"), code::WRONG_TYPE, "mtype"),
        (base().int("mtype", 50).text("attrs", "{}"), code::MISSING, "mid"),
        (base().int("mid", 1).int("mtype", 50), code::MISSING, "attrs"),
        (base().int("mid", 1).int("mtype", 50).int("attrs", 5), code::WRONG_TYPE, "attrs"),
        (with(50, "{}").text("file", "y"), code::BAD_PARAM, "file"),
    ];
    for (fields, code, text) in cases {
        let refused = ground.refused("sendfile", fields).await;
        assert_eq!(refused.0, code, "{refused:?}");
        assert!(refused.1.contains(text), "{refused:?}");
    }
    for (tos, code) in [(vec![], code::EMPTY), (vec![1, 2, 3, 4], code::TOO_MANY)] {
        let fields = with(50, "{}").ints("tos", &tos);
        assert_eq!(ground.refused("sendfiles", fields).await.0, code);
    }
    // After all of these the token is still good.
    assert!(ground.send("sendfile", with(50, "{}")).await.is_ok());
}

#[tokio::test]
async fn a_file_of_a_wrong_type_too_large_or_missing_is_refused() {
    let ground = Ground::new(|settings| settings.max_size = 1000).await;
    let token = ground.token(&Target::User(200));
    let base = || good(&token, b"x").int("to", 200);
    assert_eq!(ground.refused("sendfile", base().bool("file", false)).await.0, code::WRONG_TYPE);
    assert_eq!(ground.refused("sendfile", base()).await.0, code::MISSING);
    assert_eq!(ground.refused("sendfile", base().bytes("file", &[0; 1001])).await.0, code::TOO_LARGE);
    let own = ground.files.issue_token(7, 100, &Target::User(200), None).unwrap();
    let fields = Fields::new().int("pid", 7).text("token", &own).int("from", 100).int("to", 200);
    let refused = ground.refused("sendfile", fields.bytes("file", &[0; 101])).await;
    assert!(refused.0 == code::TOO_LARGE && refused.1.contains("100 bytes"), "{refused:?}");
}

#[tokio::test]
async fn what_nobody_gets_is_not_stored_and_its_token_stays_good() {
    let ground = Ground::new(|_| {}).await;
    let token = ground.token(&Target::Group(4));
    let fields = || good(&token, b"x").int("gid", 4).text("file", "x");
    *ground.receivers.refusal.lock().unwrap() = Some(Refusal::new(code::GROUP_EMPTY, "nobody"));
    assert_eq!(ground.refused("sendgroupfile", fields()).await.0, code::GROUP_EMPTY);
    *ground.receivers.refusal.lock().unwrap() = None;
    assert!(ground.send("sendgroupfile", fields()).await.is_ok());
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let ground = Ground::new(|_| {}).await;
    let token = ground.token(&Target::User(200));
    let bytes = encoded(&quest(1, "sendfile", good(&token, b"").int("to", 200).bytes("file", &[7; 900_000])));
    for cut in [30, bytes.len() / 2, bytes.len() - 1] {
        assert!(ground.answers(&bytes[..cut], 65_536).await.is_empty());
        ground.cleared().await;
        assert_eq!(ground.files.uploading.used() + ground.files.unauthorised.used() + ground.files.memory.used(), 0);
    }
}

// ---- limits -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn budgets_quota_and_a_full_disk_are_told_apart() {
    let file = vec![7; 400_000];
    let early = |token: &str| good(token, &file).int("to", 200).bytes("file", &file);
    let late = |token: &str| Fields::new().bytes("file", &file).int("to", 200).text("token", token);

    let ground = Ground::new(|settings| settings.max_unauthorised = 300_000).await;
    let token = ground.token(&Target::User(200));
    let refused = ground.refused("sendfile", late(&token).int("pid", PID).int("from", 100)).await;
    assert!(refused.0 == code::QUEUE_FULL && refused.1.contains("before their tokens"), "{refused:?}");
    assert!(ground.send("sendfile", early(&token)).await.is_ok());

    let ground = Ground::new(|settings| settings.max_uploading = 300_000).await;
    assert_eq!(ground.refused("sendfile", early(&ground.token(&Target::User(200)))).await.0, code::QUEUE_FULL);

    let ground = Ground::new(|settings| settings.project_quota = 500_000).await;
    assert!(ground.send("sendfile", early(&ground.token(&Target::User(200)))).await.is_ok());
    let refused = ground.send("sendfile", early(&ground.token(&Target::User(200)))).await.unwrap_err();
    assert!(refused.0 == code::QUEUE_FULL && refused.1.contains("500000 bytes"), "{refused:?}");
    assert_eq!(ground.left(), 1);

    let ground = Ground::new(|settings| settings.min_free_percent = 100).await;
    let refused = ground.refused("sendfile", early(&ground.token(&Target::User(200)))).await;
    assert!(refused.0 == code::UNKNOWN && refused.1.contains("disk is full"), "{refused:?}");
}

#[tokio::test]
async fn without_http_no_token_is_issued_and_no_file_taken() {
    let ground = Ground::new(|_| {}).await;
    let files = Files::new(Parts {
        settings: &FileSettings::default(),
        projects: HashMap::from([(PID, 0)]),
        max_targets: 3,
        http: None,
        blobs: ground.blobs.clone(),
        deliver: ground.receivers.clone(),
        memory: Budget::new(u64::MAX),
    });
    let refusal = files.issue_token(PID, 1, &Target::Everyone, None).unwrap_err();
    assert!(refusal.code == code::NOT_ENABLED && refusal.text.contains("HTTP"));
    let upload = files.begin(quest(1, "sendfile", Fields::new()), place());
    let answer = upload.end(Err(ParamError::Missing("file"))).await.unwrap();
    assert_eq!(answer.status, 1);
}

// ---- in chunks --------------------------------------------------------------------------------------------

impl Ground {
    async fn chunk(&self, method: &'static str, fields: Fields) -> Result<Params, (i32, String)> {
        let answer = self.files.chunk(&quest(8, method, fields), place).await.unwrap();
        assert_eq!((answer.kind, answer.seq), (Kind::Answer, 8));
        read_answer(&answer)
    }

    async fn begin_chunks(&self, token: &str, size: usize) -> Result<Bytes, (i32, String)> {
        let fields = Fields::new().int("pid", PID).int("from", 100).text("token", token).text("cmd", "sendfile");
        let answer = self.chunk("crupbegin", fields.int("to", 200).int("size", size as i64)).await?;
        assert!(answer.int::<usize>("max").unwrap() >= 64 * 1024);
        answer.bytes("id").map_err(|error| panic!("{error}"))
    }

    async fn data(&self, id: &[u8], at: usize, bytes: &[u8]) -> Result<usize, (i32, String)> {
        let fields = Fields::new().bytes("id", id).int("o", at as i64).bytes("d", bytes);
        self.chunk("crupdata", fields).await.map(|answer| answer.int("o").unwrap())
    }

    async fn end_chunks(&self, id: &[u8], attrs: &str) -> Result<i64, (i32, String)> {
        let fields = Fields::new().bytes("id", id).int("mtype", 50).int("mid", 4).text("attrs", attrs);
        self.chunk("crupend", fields).await.map(|answer| answer.int("mtime").unwrap())
    }
}

#[tokio::test]
async fn a_file_larger_than_a_quest_takes_comes_in_chunks() {
    let ground = Ground::new(|settings| settings.max_size = 1_000).await;
    let file: Vec<u8> = (0..600_000_u32).map(|at| (at % 249) as u8).collect();
    let token = ground.token(&Target::User(200));
    let id = ground.begin_chunks(&token, file.len()).await.unwrap();
    // One that is repeated, and one that has overtaken another, change nothing.
    assert_eq!(ground.data(&id, 0, &file[..200_000]).await, Ok(200_000));
    assert_eq!(ground.data(&id, 0, &file[..200_000]).await, Ok(200_000));
    assert_eq!(ground.data(&id, 400_000, &file[400_000..]).await, Ok(200_000));
    let early = ground.end_chunks(&id, &attrs(&token, &file)).await.unwrap_err();
    assert!(early.0 == code::BAD_PARAM && early.1.contains("200000"), "{early:?}");
    assert_eq!(ground.data(&id, 200_000, &[]).await, Ok(200_000));
    assert_eq!(ground.data(&id, 200_000, &file[200_000..]).await, Ok(600_000));
    let mtime = ground.end_chunks(&id, &attrs(&token, &file)).await.unwrap();
    // The answer may have been lost.
    assert_eq!(ground.end_chunks(&id, &attrs(&token, &file)).await, Ok(mtime));
    let got = ground.got();
    assert_eq!((got.len(), got[0].mid, &got[0].target), (1, 4, &Target::User(200)));
    let (blob, content) = ground.stored(&got[0]).await;
    assert_eq!((blob.name.as_str(), content == file), ("name.txt", true));
    assert_eq!(ground.begin_chunks(&token, 1).await.unwrap_err().0, code::BAD_FILE);
    ground.files.chunked.fall_silent();
    assert_eq!(ground.end_chunks(&id, "{}").await.unwrap_err().0, code::BAD_FILE);
    assert_eq!(ground.files.uploading.used() + ground.files.memory.used(), 0);
}

#[tokio::test]
async fn chunks_that_cannot_become_a_file_are_refused() {
    let ground = Ground::new(|settings| settings.max_chunked_size = 500_000).await;
    let token = ground.token(&Target::User(200));
    assert_eq!(ground.begin_chunks("ffff", 5).await.unwrap_err().0, code::BAD_FILE);
    assert_eq!(ground.begin_chunks(&token, 500_001).await.unwrap_err().0, code::TOO_LARGE);
    let base = || Fields::new().int("pid", PID).int("from", 100).text("token", &token).int("size", 5).int("to", 201);
    assert_eq!(ground.chunk("crupbegin", base().text("cmd", "x")).await.unwrap_err().0, code::BAD_PARAM);
    assert_eq!(ground.chunk("crupbegin", base().text("cmd", "sendfile")).await.unwrap_err().0, code::BAD_FILE);
    assert_eq!(ground.chunk("crupbegin", base()).await.unwrap_err().0, code::MISSING);

    let id = ground.begin_chunks(&token, 400_000).await.unwrap();
    let busy = ground.begin_chunks(&token, 5).await.unwrap_err();
    assert!(busy.1.contains("another upload"), "{busy:?}");
    assert_eq!(ground.data(&[0; 16], 0, b"x").await.unwrap_err().0, code::BAD_FILE);
    assert_eq!(ground.data(b"short", 0, b"x").await.unwrap_err().0, code::BAD_FILE);
    ground.data(&id, 0, &[7; 300_000]).await.unwrap();
    assert_eq!(ground.data(&id, 300_000, &[7; 100_001]).await.unwrap_err().0, code::TOO_LARGE);
    assert_eq!(ground.data(&id, 300_000, b"x").await.unwrap_err().0, code::BAD_FILE);

    // After each of these the token is free again, and nothing is left.
    let id = ground.begin_chunks(&token, 1).await.unwrap();
    ground.data(&id, 0, b"x").await.unwrap();
    let wrong = ground.end_chunks(&id, &attrs(&token, b"y")).await.unwrap_err();
    assert!(wrong.0 == code::BAD_FILE && wrong.1.contains("signature"), "{wrong:?}");
    let id = ground.begin_chunks(&token, 300_000).await.unwrap();
    ground.data(&id, 0, &[7; 300_000]).await.unwrap();
    ground.files.chunked.fall_silent();
    assert_eq!(ground.end_chunks(&id, "{}").await.unwrap_err().0, code::BAD_FILE);
    ground.cleared().await;
    assert_eq!(ground.files.uploading.used() + ground.files.memory.used(), 0);
    let id = ground.begin_chunks(&token, 0).await.unwrap();
    assert!(ground.end_chunks(&id, &attrs(&token, b"")).await.is_ok());
    assert_eq!(ground.got().len(), 1);
}

// ---- storage ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn stored_files_outlive_a_restart_and_what_a_crash_left_behind_is_put_into_quarantine() {
    let directory = tempfile::tempdir().unwrap();
    let ground = Ground::at(directory.path(), |_| {}).await;
    let token = ground.token(&Target::User(200));
    ground.send("sendfile", good(&token, b"x").int("to", 200).text("file", "x")).await.unwrap();
    let message = ground.got().pop().unwrap();
    drop(ground);

    let files = directory.path().join("files");
    std::fs::write(files.join("tmp").join("half"), "half a file").unwrap();
    let orphan = files.join("ab").join("cd");
    std::fs::create_dir_all(&orphan).unwrap();
    let name = format!("abcd{}", "0".repeat(28));
    std::fs::write(orphan.join(&name), "renamed, but never entered").unwrap();

    let ground = Ground::at(directory.path(), |settings| settings.project_quota = 1).await;
    assert_eq!(ground.left(), 2);
    assert_eq!(ground.blobs.clear_orphans().await.unwrap(), 1);
    assert_eq!(ground.stored(&message).await.1, b"x");
    let place = files.join("quarantine");
    assert_eq!(std::fs::read(place.join(&name)).unwrap(), b"renamed, but never entered");
    assert_eq!((ground.left(), ground.blobs.sweep().await.unwrap()), (2, 0));
    assert!(place.join(&name).exists(), "it stays as long as files are kept");
    // What was stored before still counts.
    let token = ground.token(&Target::User(200));
    let refused = ground.send("sendfile", good(&token, b"x").int("to", 200).text("file", "x")).await.unwrap_err();
    assert_eq!(refused.0, code::QUEUE_FULL);
}

#[tokio::test]
async fn regression_a_database_that_knows_no_file_costs_none() {
    let directory = tempfile::tempdir().unwrap();
    let ground = Ground::at(directory.path(), |_| {}).await;
    let token = ground.token(&Target::User(200));
    ground.send("sendfile", good(&token, b"x").int("to", 200).text("file", "x")).await.unwrap();
    drop(ground);
    for entry in std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("relay.sqlite") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let ground = Ground::at(directory.path(), |settings| settings.keep = Duration::ZERO).await;
    assert_eq!(ground.blobs.clear_orphans().await.unwrap(), 1);
    assert_eq!(ground.left(), 1);
    ground.blobs.sweep().await.unwrap();
    assert_eq!(ground.left(), 0, "and no longer than that");
}

#[tokio::test]
async fn expired_files_are_gone_and_their_quota_is_free_again() {
    let ground = Ground::new(|settings| {
        settings.keep = Duration::from_secs(0);
        settings.project_quota = 1;
    });
    let ground = ground.await;
    let fields = |token: &str| good(token, b"x").int("to", 200).text("file", "x");
    ground.send("sendfile", fields(&ground.token(&Target::User(200)))).await.unwrap();
    assert_eq!(ground.left(), 1);
    assert_eq!(ground.blobs.sweep().await.unwrap(), 1);
    assert_eq!(ground.left(), 0);
    assert!(ground.send("sendfile", fields(&ground.token(&Target::User(200)))).await.is_ok());
}

#[tokio::test]
async fn uploads_in_chunks_count_for_their_senders_address_until_they_end() {
    let ground = Ground::new(|_| {}).await;
    let crowd = crate::guard::Crowd::new(1, 0, true);
    let begin = async |target: i64| {
        let token = ground.token(&Target::User(target));
        let fields = Fields::new().int("pid", PID).int("from", 100).text("token", &token).text("cmd", "sendfile");
        let quest = quest(8, "crupbegin", fields.int("to", target).int("size", 5));
        let answer = ground.files.chunk(&quest, || crowd.enter([192, 0, 2, 1].into())).await.unwrap();
        read_answer(&answer).map(|answer| answer.bytes("id").unwrap())
    };
    begin(200).await.unwrap();
    let refused = begin(201).await.unwrap_err();
    assert!(refused.0 == code::QUEUE_FULL && refused.1.contains("from your address"), "{refused:?}");
    ground.files.chunked.fall_silent();
    begin(202).await.unwrap();
}

#[tokio::test]
async fn a_file_that_many_read_is_opened_once_and_each_reads_what_he_asks_for() {
    let ground = Ground::new(|_| {}).await;
    let file: Vec<u8> = (0..600_000_u32).map(|at| (at % 253) as u8).collect();
    let token = ground.token(&Target::User(200));
    ground.send("sendfile", good(&token, &file).int("to", 200).bytes("file", &file)).await.unwrap();
    let id = BlobId::parse(ground.got()[0].blob.as_ref().unwrap()).unwrap();
    let blob = ground.blobs.find(id).await.unwrap().unwrap();
    let (one, other) = (ground.blobs.open(blob.clone()).await.unwrap(), ground.blobs.open(blob.clone()).await.unwrap());
    assert!(one.shares_file_with(&other));
    let (mut one, mut other) = (one, other);
    for at in (0..500_000).step_by(100_000) {
        let (read, back) = tokio::join!(one.read(at, 1_000), other.read(500_000 - at, 1_000));
        let (first, second);
        (one, first) = read.unwrap();
        (other, second) = back.unwrap();
        let (at, end) = (at as usize, 500_000 - at as usize);
        assert!(first[..] == file[at..at + 1_000] && second[..] == file[end..end + 1_000]);
    }
    drop((one, other));
    let again = ground.blobs.open(blob).await.unwrap();
    assert_eq!(again.read(599_999, 1).await.unwrap().1[..], file[599_999..]);
}
