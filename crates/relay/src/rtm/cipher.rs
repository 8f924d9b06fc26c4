//! FPNN's own encryption, for old SDKs that ask for it by `*key`. It protects against nobody who can change what is on
//! the way: both directions use one key and one start, packages may begin again at that start, and nothing is
//! authenticated. So it is off unless the operator gives keys, and is called insecure.

use aes::{Aes128, Aes256};
use bytes::Bytes;
use cfb_mode::cipher::KeyIvInit;
use cfb_mode::{BufDecryptor, BufEncryptor};
use crvideo_proto::rtm::params::Params;
use md5::{Digest, Md5};

/// Coordinates of a point on either curve have this many bytes each.
const COORDINATE: usize = 32;
/// Before a package's ciphertext stands its length.
const LENGTH: usize = 4;

/// The relay's private keys, one for each curve at most.
pub(crate) struct Keys {
    k1: Option<k256::SecretKey>,
    r1: Option<p256::SecretKey>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys {{ k1: {}, r1: {} }}", self.k1.is_some(), self.r1.is_some())
    }
}

impl Keys {
    /// Reads PEM text as `openssl ecparam -genkey` writes it: a key for secp256k1, one for secp256r1 (prime256v1), or
    /// both. What is said on failure follows the file's name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Self { k1: None, r1: None };
        for block in text.split_inclusive("-----END").filter_map(|part| part.find("-----BEGIN").map(|at| &part[at..])) {
            let Some(label) = block.strip_prefix("-----BEGIN ").and_then(|rest| rest.split("-----").next()) else {
                continue;
            };
            let pem = format!("{block} {label}-----\n");
            match label {
                "EC PARAMETERS" => continue,
                "EC PRIVATE KEY" | "PRIVATE KEY" => {}
                other => return Err(format!("holds a {other}; only private EC keys are of use")),
            }
            let k1 = k256::SecretKey::from_sec1_pem(&pem).ok().or_else(|| pkcs8(&pem));
            let r1 = p256::SecretKey::from_sec1_pem(&pem).ok().or_else(|| pkcs8(&pem));
            match (k1, r1) {
                (Some(key), None) if keys.k1.is_none() => keys.k1 = Some(key),
                (None, Some(key)) if keys.r1.is_none() => keys.r1 = Some(key),
                (None, None) => return Err("holds a key that is for neither secp256k1 nor secp256r1".to_owned()),
                _ => return Err("holds two keys for one curve, or one that does not say its curve".to_owned()),
            }
        }
        match keys {
            Keys { k1: None, r1: None } => Err("holds no private EC key in PEM form".to_owned()),
            keys => Ok(keys),
        }
    }

    /// What both sides know now, if the client's point lies on a curve that we have a key for.
    fn agree(&self, point: &[u8]) -> Option<[u8; COORDINATE]> {
        if point.len() != 2 * COORDINATE {
            return None;
        }
        // An uncompressed point begins with a 4. Reading it checks that it lies on the curve.
        let point = [&[4], point].concat();
        let by_k1 = || {
            let (key, point) = (self.k1.as_ref()?, k256::PublicKey::from_sec1_bytes(&point).ok()?);
            let shared = k256::ecdh::diffie_hellman(key.to_nonzero_scalar(), point.as_affine());
            shared.raw_secret_bytes().as_slice().try_into().ok()
        };
        let by_r1 = || {
            let (key, point) = (self.r1.as_ref()?, p256::PublicKey::from_sec1_bytes(&point).ok()?);
            let shared = p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), point.as_affine());
            shared.raw_secret_bytes().as_slice().try_into().ok()
        };
        by_k1().or_else(by_r1)
    }

    /// The two directions of a connection whose client has sent these parameters by `*key`; `None` when they are not
    /// as they must be.
    pub(super) fn ciphers(&self, params: &Params) -> Option<(Opener, Sealer)> {
        let secret = self.agree(&params.bytes("publicKey").ok()?)?;
        let stream = params.opt_bool("streamMode").ok()?.unwrap_or_default();
        let bits: u16 = params.opt_int("bits").ok()?.unwrap_or(128);
        let large = match bits {
            128 => false,
            256 => true,
            _ => return None,
        };
        let start = Start { secret, iv: Md5::digest(secret).into(), large };
        let opening = start.decryptor();
        let sealing = start.encryptor();
        let opener = Opener { start: start.clone(), stream, cipher: opening, length: Vec::new(), left: 0 };
        Some((opener, Sealer { start, stream, cipher: sealing }))
    }
}

fn pkcs8<K: k256::pkcs8::DecodePrivateKey>(pem: &str) -> Option<K> {
    K::from_pkcs8_pem(pem).ok()
}

/// Where each direction begins, and in package mode each package.
#[derive(Clone)]
struct Start {
    secret: [u8; COORDINATE],
    iv: [u8; 16],
    /// 256 bits instead of 128.
    large: bool,
}

enum Decryptor {
    Aes128(BufDecryptor<Aes128>),
    Aes256(BufDecryptor<Aes256>),
}

enum Encryptor {
    Aes128(BufEncryptor<Aes128>),
    Aes256(BufEncryptor<Aes256>),
}

impl Start {
    /// The half of the secret that is a key of 128 bits.
    fn half(&self) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&self.secret[..16]);
        half
    }

    fn decryptor(&self) -> Decryptor {
        match self.large {
            false => Decryptor::Aes128(BufDecryptor::new(&self.half().into(), &self.iv.into())),
            true => Decryptor::Aes256(BufDecryptor::new(&self.secret.into(), &self.iv.into())),
        }
    }

    fn encryptor(&self) -> Encryptor {
        match self.large {
            false => Encryptor::Aes128(BufEncryptor::new(&self.half().into(), &self.iv.into())),
            true => Encryptor::Aes256(BufEncryptor::new(&self.secret.into(), &self.iv.into())),
        }
    }
}

/// Opens what a client sends.
pub(super) struct Opener {
    start: Start,
    stream: bool,
    cipher: Decryptor,
    /// The bytes of a package's length that have come.
    length: Vec<u8>,
    /// Bytes of the present package that are still to come.
    left: usize,
}

impl Opener {
    /// Turns ciphertext into plain text, in place. Lengths of packages stand between the texts and are left out, so
    /// `take` may be called several times.
    pub(super) fn open(&mut self, mut bytes: &mut [u8], mut take: impl FnMut(&[u8])) {
        if self.stream {
            self.decrypt(bytes);
            return take(bytes);
        }
        while !bytes.is_empty() {
            if self.left == 0 {
                let wanted = (LENGTH - self.length.len()).min(bytes.len());
                let (head, rest) = bytes.split_at_mut(wanted);
                self.length.extend_from_slice(head);
                bytes = rest;
                if let Some(length) = self.length.first_chunk::<LENGTH>() {
                    self.left = u32::from_le_bytes(*length) as usize;
                    self.length.clear();
                    self.cipher = self.start.decryptor();
                }
                continue;
            }
            let here = self.left.min(bytes.len());
            let (piece, rest) = bytes.split_at_mut(here);
            self.decrypt(piece);
            take(piece);
            self.left -= here;
            bytes = rest;
        }
    }

    fn decrypt(&mut self, bytes: &mut [u8]) {
        match &mut self.cipher {
            Decryptor::Aes128(cipher) => cipher.decrypt(bytes),
            Decryptor::Aes256(cipher) => cipher.decrypt(bytes),
        }
    }
}

/// Seals what a client gets.
pub(super) struct Sealer {
    start: Start,
    stream: bool,
    cipher: Encryptor,
}

impl Sealer {
    /// One package on its way out.
    pub(super) fn seal(&mut self, package: &[u8]) -> Bytes {
        let mut sealed = Vec::with_capacity(LENGTH + package.len());
        if !self.stream {
            // A package of ours is far smaller than 4 GiB.
            sealed.extend_from_slice(&(package.len() as u32).to_le_bytes());
            self.cipher = self.start.encryptor();
        }
        let from = sealed.len();
        sealed.extend_from_slice(package);
        if let Some(bytes) = sealed.get_mut(from..) {
            match &mut self.cipher {
                Encryptor::Aes128(cipher) => cipher.encrypt(bytes),
                Encryptor::Aes256(cipher) => cipher.encrypt(bytes),
            }
        }
        sealed.into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use crvideo_proto::frame::FrameReader;

    use super::*;

    /// The first lines of a captured conversation: what its comments say, and its bytes.
    struct Captured {
        text: String,
        bytes: Vec<u8>,
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn captured(name: &str) -> Captured {
        let path = format!("{}/../proto/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let bytes = hex(text.lines().find_map(|line| line.strip_prefix("# raw hex: ")).unwrap());
        Captured { text, bytes }
    }

    impl Captured {
        fn said(&self, what: &str) -> Vec<u8> {
            let line = self.text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(what));
            hex(line.expect(what))
        }
    }

    fn keys(scalar: &[u8], curve: &str) -> Keys {
        match curve {
            "k1" => Keys { k1: k256::SecretKey::from_slice(scalar).ok(), r1: None },
            _ => Keys { k1: None, r1: p256::SecretKey::from_slice(scalar).ok() },
        }
    }

    const CONVERSATIONS: [(&str, &str); 6] = [
        ("70", "python-k1-pkg-128"),
        ("71", "cpp-k1-pkg-128"),
        ("72", "node-k1-pkg-256"),
        ("73", "go-k1-stream-128"),
        ("74", "cpp-r1-stream-256"),
        ("75", "java-r1-pkg-128"),
    ];

    #[test]
    fn conversations_of_real_sdks_are_opened_and_answered_byte_for_byte() {
        for (number, name) in CONVERSATIONS {
            let quest = captured(&format!("{number}a-key-quest-{name}"));
            let keys = keys(&quest.said("server private scalar"), name.split('-').nth(1).unwrap());
            let mut reader = FrameReader::new(1_000);
            reader.feed(&quest.bytes);
            let params = Params::of(&reader.next_frame().unwrap().unwrap()).unwrap();
            let (_, mut sealer) = keys.ciphers(&params).unwrap();
            let answer = captured(&format!("{number}b-key-answer-{name}"));
            assert_eq!(sealer.seal(&answer.said("plaintext")), answer.bytes, "{name}");
            let first = captured(&format!("{number}c-first-quest-{name}"));
            for step in [1, 2, 3, 5, 1_000] {
                let (mut opener, _) = keys.ciphers(&params).unwrap();
                let mut plain = Vec::new();
                for piece in first.bytes.clone().chunks_mut(step) {
                    opener.open(piece, |text| plain.extend_from_slice(text));
                }
                assert_eq!(plain, first.said("plaintext"), "{name} in pieces of {step}");
            }
        }
    }

    #[test]
    fn points_that_lie_on_no_curve_are_refused() {
        let keys =
            Keys { k1: k256::SecretKey::from_slice(&[7; 32]).ok(), r1: p256::SecretKey::from_slice(&[7; 32]).ok() };
        for bad in [vec![], vec![0; 64], vec![1; 64], vec![0xff; 64], vec![1; 63], vec![1; 65]] {
            assert_eq!(keys.agree(&bad), None, "{bad:?}");
        }
    }

    /// Made by openssl for this test alone: the first with its parameters before it, the second in PKCS #8.
    const K1: &str = "\
-----BEGIN EC PARAMETERS-----
BgUrgQQACg==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHQCAQEEIFP+M7ZHSwYoX+jqYK8Rn2Tdf6pJAHXenjISZz5C5iEAoAcGBSuBBAAK
oUQDQgAEndED2PIi+fcGX/AxIXHsc+jgQwVy+9krbO8TNfjxzlMkFexNCq8lYIIu
be6OKKDB3CdwqhKDGiMXoKqtLNX5nQ==
-----END EC PRIVATE KEY-----
";
    const R1: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwjuf3tMl0B3ILJgE
M4LWYwD2uImnEZokKTi+3zL0DmahRANCAASVusI9y6lAvrs0YGsjQbn/CyTqeJ5X
r+PUuLyIj2/r30752etcatZ+yASjqkRB2VEOmQqEHK1xjDCgk7025+Jy
-----END PRIVATE KEY-----
";

    #[test]
    fn keys_are_read_as_openssl_writes_them() {
        let both = Keys::parse(&format!("{K1}{R1}")).unwrap();
        assert!(both.k1.is_some() && both.r1.is_some());
        let one = Keys::parse(R1).unwrap();
        assert!(one.k1.is_none() && one.r1.is_some());
        assert!(Keys::parse(&format!("{R1}{R1}")).unwrap_err().contains("two keys"));
    }

    #[test]
    fn what_is_no_key_is_named() {
        for (text, named) in [
            ("", "no private EC key"),
            ("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", "CERTIFICATE"),
            ("-----BEGIN EC PRIVATE KEY-----\nMA==\n-----END EC PRIVATE KEY-----\n", "neither"),
        ] {
            let error = Keys::parse(text).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
