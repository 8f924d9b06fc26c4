//! Signatures of the RTM dialect. Their form is given; MD5 protects nothing by itself, so TLS or a private network must.

use constant_time_eq::constant_time_eq;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

fn hex(digest: &[u8], digits: &[u8; 16]) -> String {
    let digit = |value: u8| char::from(digits[usize::from(value)]);
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The signature of a request: 32 upper-case hexadecimal digits. `ts` is in seconds since 1970.
pub fn request_sign(project: i64, secret: &str, salt: i64, method: &str, ts: i64) -> String {
    let signed = Zeroizing::new(format!("{project}:{secret}:{salt}:{method}:{ts}"));
    hex(&Md5::digest(signed.as_bytes()), b"0123456789ABCDEF")
}

/// Whether `sign` is the signature of a request by one of a project's secrets. Takes equally long whatever is wrong.
pub fn is_request_sign<'a>(
    sign: &[u8],
    project: i64,
    secrets: impl IntoIterator<Item = &'a str>,
    salt: i64,
    method: &str,
    ts: i64,
) -> bool {
    let given = sign.to_ascii_uppercase();
    secrets.into_iter().fold(false, |good, secret| {
        good | constant_time_eq(&given, request_sign(project, secret, salt, method, ts).as_bytes())
    })
}

/// Hashes a file's bytes while they stream.
#[derive(Debug, Clone, Default)]
pub struct FileHasher(Md5);

impl FileHasher {
    /// Takes more of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of what was taken: 32 lower-case hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.0.finalize(), b"0123456789abcdef")
    }
}

/// The signature of a file whose bytes have the MD5 `file_md5` (32 lower-case digits), for one token.
pub fn file_sign(file_md5: &str, token: &str) -> String {
    hex(&Md5::digest(format!("{file_md5}:{token}")), b"0123456789abcdef")
}

/// Whether `sign` is the signature of such a file. Takes equally long whatever is wrong.
pub fn is_file_sign(sign: &str, file_md5: &str, token: &str) -> bool {
    constant_time_eq(sign.to_ascii_lowercase().as_bytes(), file_sign(file_md5, token).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_signed_as_real_sdks_sign_them() {
        // Captured from seven SDKs with the secret "mock-secret-0000".
        let rows: [(i64, &str, i64, &str); 7] = [
            (29414092608719296, "setlisten", 1795293738, "025BB9438443EF72DFF6CA3D9D7C8159"),
            (1795293745027001, "setlisten", 1795293745, "BED387E5D87E9A249F5DF2B357E86E23"),
            (7530007753603727489, "setlisten", 1795293749, "B71BF1EDAC778B23ADC1669B9BBC6DA0"),
            (7530007794524979329, "setlisten", 1795293758, "B9A3583DDD4D17BE22864D7C8B570F4A"),
            (29414092859649, "setlisten", 1795293753, "0F89CBF265DA2CA49FA5F66FE716D1B1"),
            (179529376350075143, "gettoken", 1795293763, "4028B156B743B9259B5EB49025C732C1"),
            (1047443711002808641, "setlisten", 63930890564, "5B457A8FA12C3700DC4E3334DD59D1BF"),
        ];
        for (salt, method, ts, sign) in rows {
            assert_eq!(request_sign(11_000_001, "mock-secret-0000", salt, method, ts), sign);
            let secrets = ["another", "mock-secret-0000"];
            assert!(is_request_sign(sign.to_lowercase().as_bytes(), 11_000_001, secrets, salt, method, ts));
            assert!(!is_request_sign(sign.as_bytes(), 11_000_001, secrets, salt, method, ts + 1));
            assert!(!is_request_sign(sign.as_bytes(), 11_000_001, ["another"], salt, method, ts));
        }
        assert!(!is_request_sign(b"", 1, ["s"], 1, "m", 1));
    }

    #[test]
    fn files_are_signed_as_real_sdks_sign_them() {
        let mut hasher = FileHasher::default();
        hasher.update(b"hello rtm");
        hasher.update(b" file\n");
        let md5 = hasher.finish();
        let sign = "06034655594d0bf7831262432915420d";
        assert_eq!(file_sign(&md5, "TOKEN0123456789ABCDEF"), sign);
        assert!(is_file_sign(&sign.to_uppercase(), &md5, "TOKEN0123456789ABCDEF"));
        assert!(!is_file_sign(sign, &md5, "TOKEN0123456789ABCDEG"));
    }
}
