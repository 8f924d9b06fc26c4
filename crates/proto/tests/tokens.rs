//! Tokens against published examples, and against tokens that Python's `hmac`, `hashlib` and `base64` made.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crvideo_proto::code;
use crvideo_proto::token::{
    CLOCK_TOLERANCE_S, Claims, MAX_TOKEN, TokenError, issue, issue_with_id, mint, peek, verify,
};

const SECRET: &str = "correct horse battery staple";
const EXPIRES: u64 = 1_800_000_000;

/// `{"pid":11000001,"sub":"alice","exp":1800000000}`, signed with [`SECRET`].
const ALICE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     tXfnHqHHCsHO2Hp8YGBwi558dDlzQ72oJr5BKbd0Q_0";

/// The same, signed with `an older secret`.
const ALICE_OLD_SECRET: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     Vi2OHBaCH1VYFrIDpWhlCkXT_ZZBiNfWIZ_I5Xlfuy0";

/// The same claims in another order, and the header `{"typ":"JWT","alg":"HS256","kid":"2026"}`.
const ALICE_OTHER_ORDER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYifQ.\
     eyJleHAiOjE4MDAwMDAwMDAsInN1YiI6ImFsaWNlIiwicGlkIjoxMTAwMDAwMX0.\
     A3kp2_IimON5qenDZ1dhd7pjaIcDocENiEqKGqrSjuI";

/// The same as [`ALICE`], signed with a secret of 200 bytes, which is longer than a block of SHA-256.
const ALICE_LONG_SECRET: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     G6SyU7Hun51-OvIMlxAUopt-dRanbs2wwiGnB1WvH8g";

/// [`ALICE`] with `"nbf":1700000000,"iat":1700000000,"jti":"t-1"`.
const ALICE_ALL_CLAIMS: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMCwibmJmIjoxNzAwMDAwMDAwLCJpYXQiOjE3MDAwMDAwMDAsImp0aSI6InQtMSJ9.\
     IkxtZLiInkNKTSUrE4LbJfmuJzn10vcKo_zPkFGWJ1Q";

/// [`ALICE`] with `"exp":1800000000.75,"nbf":1700000000.5`.
const ALICE_FRACTIONS: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMC43NSwibmJmIjoxNzAwMDAwMDAwLjV9.\
     XR3QQ2JAPPckwvV0YLqD3zqTJBGj3gzkPdv70b2gpSE";

/// `{"pid":-5,"sub":"Zoë 漢","exp":1800000000}`, signed with `geheim-ü-漢`.
const ZOE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOi01LCJzdWIiOiJab8OrIOa8oiIsImV4cCI6MTgwMDAwMDAwMH0.\
     Lvz6kmudPONkPzfzkaDi37V6LixZXRicbQIuiqcsnQg";

fn alice() -> Claims {
    Claims { project: 11_000_001, user: "alice".into(), expires: EXPIRES, issued: None, id: None }
}

fn check(token: &str, now: u64) -> Result<Claims, TokenError> {
    verify(token, [SECRET], now)
}

#[test]
fn tokens_of_another_implementation_are_taken() {
    assert_eq!(check(ALICE, EXPIRES), Ok(alice()));
    assert_eq!(check(ALICE_OTHER_ORDER, EXPIRES), Ok(alice()));
    assert_eq!(verify(ALICE_LONG_SECRET, [&*"0123456789".repeat(20)], EXPIRES), Ok(alice()));
    assert_eq!(
        check(ALICE_ALL_CLAIMS, EXPIRES),
        Ok(Claims { issued: Some(1_700_000_000), id: Some("t-1".into()), ..alice() })
    );
    assert_eq!(check(ALICE_FRACTIONS, EXPIRES), Ok(alice()));
    let zoe = Claims { project: -5, user: "Zoë 漢".into(), expires: EXPIRES, issued: None, id: None };
    assert_eq!(verify(ZOE, ["geheim-ü-漢"], EXPIRES), Ok(zoe));
}

#[test]
fn minted_tokens_say_what_was_asked_for_and_are_taken() {
    for (project, user) in [(11_000_001, "alice"), (-5, "Zoë 漢"), (i64::MIN, "a\"b\\c\n"), (i64::MAX, "")] {
        let token = mint(project, user, EXPIRES, SECRET);
        let claims = Claims { project, user: user.into(), expires: EXPIRES, issued: None, id: None };
        assert_eq!(check(&token, EXPIRES), Ok(claims.clone()));
        assert_eq!(peek(&token), Ok(claims));
        assert_eq!(verify(&token, ["another secret"], EXPIRES), Err(TokenError::Signature));
    }
    let claims = check(&issue(7, "8", 1_700_000_000, EXPIRES, SECRET), EXPIRES).unwrap();
    assert_eq!((claims.issued, claims.expires, claims.user.as_str()), (Some(1_700_000_000), EXPIRES, "8"));
    // The header is a constant, so it can be compared with the published one.
    let header = mint(1, "a", 1, SECRET);
    assert!(header.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."), "{header}");
}

/// The example of jwt.io. It has no project, so a good signature is seen by the complaint about the claims.
#[test]
fn the_signature_of_the_well_known_example_is_right() {
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
     SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
    assert_eq!(verify(token, ["your-256-bit-secret"], 0), Err(TokenError::Claims));
    assert_eq!(verify(token, ["your-256-bit-secreT"], 0), Err(TokenError::Signature));
    assert_eq!(verify(token, ["your-256-bit-secret\0x"], 0), Err(TokenError::Signature));
    assert_eq!(verify(token, [], 0), Err(TokenError::Signature));
    assert_eq!(peek(token), Err(TokenError::Claims));
}

/// RFC 7515, appendix A.1. Its key is 64 random bytes that are no text, and our secrets are text, so its signature
/// cannot be checked here; that it is read as a JWT with HS256, and refused for its signature, can.
#[test]
fn the_example_of_rfc_7515_is_a_token_that_no_text_secret_fits() {
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
     dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(peek(token), Err(TokenError::Claims));
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    assert_eq!(verify(token, [key, ""], 0), Err(TokenError::Signature));
}

#[test]
fn every_single_bit_of_a_token_counts() {
    for token in [ALICE, ALICE_ALL_CLAIMS, ZOE] {
        let secrets = [SECRET, "geheim-ü-漢"];
        assert!(verify(token, secrets, EXPIRES).is_ok());
        for bit in 0..token.len() * 8 {
            let mut bytes = token.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Bytes above 0x7f make it no text, and the wire refuses that before anybody looks at tokens.
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let error = verify(&changed, secrets, EXPIRES).unwrap_err();
            assert!(matches!(error, TokenError::NotAToken | TokenError::Signature), "{error:?} for {changed}");
        }
    }
}

#[test]
fn every_byte_of_a_token_is_needed_and_none_may_follow() {
    for len in 0..ALICE.len() {
        let error = check(&ALICE[..len], EXPIRES).unwrap_err();
        assert!(matches!(error, TokenError::NotAToken | TokenError::Signature), "{error:?} for {len} bytes");
        let error = check(&ALICE[len + 1..], EXPIRES).unwrap_err();
        assert!(matches!(error, TokenError::NotAToken | TokenError::Signature), "{error:?} from byte {len} on");
    }
    for more in [".", "=", "A", "AA", " ", "\n", "\0", ".e30", ".e30.e30"] {
        assert!(check(&format!("{ALICE}{more}"), EXPIRES).is_err(), "{more:?} behind");
        assert!(check(&format!("{more}{ALICE}"), EXPIRES).is_err(), "{more:?} in front");
    }
}

/// All are signed with [`SECRET`] over what they say, so the header alone speaks against them.
#[test]
fn other_algorithms_and_headers_are_refused_even_when_the_signature_fits() {
    for (what, token) in [
        (
            "none without a signature",
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     ",
        ),
        (
            "none, signed all the same",
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     T3vIvWWgV_QDI7sB3wCc2HueksB0DjAODVgwcvnI-4o",
        ),
        (
            "None",
            "eyJhbGciOiJOb25lIn0.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     FL8RGHvacp0gnUz4djeBW9v03ZR6zjwa7AQme9vfdOQ",
        ),
        (
            "HS512",
            "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     dOdaWgzz4hCdU1DiyeoM_CW5unWH8DE_tucDL6QN5cbdx-B17BABYj8Wso1HVsl7Tekrcgm-lQhICpr1XZ5mGg",
        ),
        (
            "HS384",
            "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     n-oRjJ0F_ueRvC7hW2uvw3XgoLA1-fV5_pFKrr0--H6xka7PEyeA-Kzc_ycrGuEC",
        ),
        (
            "RS256 over HMAC",
            "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     QQ4xkS1kMdbt4asj6VKkhTSexguWNEQIPZ2zFXopUUk",
        ),
        (
            "hs256",
            "eyJhbGciOiJoczI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     IWbw3GcVXaBTP2WGBRw8qjPYgyaXDxfraiFjzomx0FI",
        ),
        (
            "no algorithm",
            "eyJ0eXAiOiJKV1QifQ.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     IdF6IY4dMndlzSbjL2TMQkm-D0e-XsEG5WJUJD207E8",
        ),
        (
            "a list of algorithms",
            "eyJhbGciOlsiSFMyNTYiXX0.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     TdEbl7zWP_QaXwJimoO8vatTvbumKeolwMBOb5zUDVY",
        ),
        (
            "a header that is a list",
            "WyJIUzI1NiJd.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     l3YhgLA_s7fTvoi86UPq_g7fthekdU6K8G1Ts9Lzm04",
        ),
        (
            "a critical extension that nobody here knows",
            "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiYjY0Il0sImI2NCI6ZmFsc2V9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     NYwgMdMttesubCnKByw6IQEWRBzEmSMMvlB4-9jdkH8",
        ),
    ] {
        assert_eq!(check(token, EXPIRES), Err(TokenError::NotAToken), "{what}");
        assert_eq!(peek(token), Err(TokenError::NotAToken), "{what}");
    }
}

#[test]
fn a_header_or_payload_that_is_exchanged_breaks_the_signature() {
    let parts: Vec<_> = ALICE.split('.').collect();
    let other: Vec<_> = ALICE_OTHER_ORDER.split('.').collect();
    let full: Vec<_> = ALICE_ALL_CLAIMS.split('.').collect();
    for token in [
        [other[0], parts[1], parts[2]],
        [parts[0], other[1], parts[2]],
        [parts[0], full[1], parts[2]],
        [parts[0], parts[1], full[2]],
        [parts[1], parts[0], parts[2]],
    ] {
        let error = check(&token.join("."), EXPIRES).unwrap_err();
        assert!(matches!(error, TokenError::NotAToken | TokenError::Signature), "{error:?} for {token:?}");
    }
    // HS256 of everything in front of the last point with a signature of nothing.
    for signature in ["", "AA", &parts[2][..42], "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let token = format!("{}.{}.{signature}", parts[0], parts[1]);
        assert!(matches!(check(&token, EXPIRES), Err(TokenError::Signature | TokenError::NotAToken)), "{signature}");
    }
}

#[test]
fn what_is_not_three_parts_of_base64url_is_no_token() {
    let parts: Vec<_> = ALICE.split('.').collect();
    let two = parts[..2].join(".");
    let padded = format!("{}.{}=.{}", parts[0], parts[1], parts[2]);
    let standard = ALICE.replace('_', "/").replace('-', "+");
    assert_ne!(standard, ALICE);
    for token in
        ["", ".", "..", "...", "a.b.c", "e30.e30.", "e30", two.as_str(), &padded, &standard, "é.é.é", "\0.\0.\0"]
    {
        assert_eq!(check(token, EXPIRES), Err(TokenError::NotAToken), "{token:?}");
    }
    let list = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     WzEsMl0.\
     ehE-mCgTWy6Z1ipVefguRNiH9SIW2CEzM9Q1YoJT0Ck";
    assert_eq!(check(list, EXPIRES), Err(TokenError::NotAToken), "claims that are a list");
    let text = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     aGVsbG8.\
     A4YGtLd1t_-XlklCi5T8BYAx5-ixukkI4-HDxMsm41A";
    assert_eq!(check(text, EXPIRES), Err(TokenError::NotAToken), "claims that are no JSON");
}

/// All are signed with [`SECRET`].
#[test]
fn claims_that_are_missing_or_of_the_wrong_type_are_refused() {
    for (what, token) in [
        (
            "no project",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0.\
     OBgI6X76WOkA5c_SIi6TKJA_vzA0vMZPh25vLg_jtvY",
        ),
        (
            "no user",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjEsImV4cCI6MTgwMDAwMDAwMH0.\
     uT9s8KvIeTMlp2AFhwU5iAfCvStYFJ9BVNGvvi9UTjs",
        ),
        (
            "no end",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjEsInN1YiI6ImFsaWNlIn0.\
     Ph1UinDVhgTup7O48-PVJJIb0IYsFtLwS2s6xoakQcw",
        ),
        (
            "a project that is text",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOiIxMTAwMDAwMSIsInN1YiI6ImFsaWNlIiwiZXhwIjoxODAwMDAwMDAwfQ.\
     04qnZGTThgHqsa7jrbeUfYOly44a1ChJHigUUJ6UKiw",
        ),
        (
            "a project that is a fraction",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjEuNSwic3ViIjoiYWxpY2UiLCJleHAiOjE4MDAwMDAwMDB9.\
     -1B5g8pBJTNWi1WXPKn2Ich0I2W2_XY-pdVEqH44nHc",
        ),
        (
            "a user that is a number",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjEsInN1YiI6NywiZXhwIjoxODAwMDAwMDAwfQ.\
     8OvDq4NBYLFzNrvAISJxJG5xhOWpWdV4QGY9D43p_LM",
        ),
        (
            "an end that is text",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjEsInN1YiI6ImFsaWNlIiwiZXhwIjoiMTgwMDAwMDAwMCJ9.\
     GUFjoyzuz6DlmubcFPiLMZZHBUehbmItV4lb_CDiaK0",
        ),
        (
            "an end before 1970",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjEsInN1YiI6ImFsaWNlIiwiZXhwIjotMX0.\
     w95k7xUGkx_O7ML1Aefw-xgWPuDRN_Xjuc4i3zlLJVs",
        ),
        (
            "an end of 1e300",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjEsInN1YiI6ImFsaWNlIiwiZXhwIjoxZTMwMH0.\
     -RefUW570dK5XmB0BwUD7Ld30whc484M7Hir3NXnk1w",
        ),
        (
            "a beginning that is text",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjEsInN1YiI6ImFsaWNlIiwiZXhwIjoxODAwMDAwMDAwLCJuYmYiOiJ4In0.\
     f8uti_yPOpfrVXPXrV1g7KCU9aSdi9CbkkkYaMOfP9M",
        ),
    ] {
        assert_eq!(check(token, EXPIRES - 1_000), Err(TokenError::Claims), "{what}");
        // Without the right secret nobody learns what is wrong with the claims.
        assert_eq!(verify(token, ["guess"], EXPIRES - 1_000), Err(TokenError::Signature), "{what}");
    }
}

#[test]
fn a_token_ends_sixty_seconds_after_its_time() {
    assert_eq!(CLOCK_TOLERANCE_S, 60);
    for (now, good) in [(0, true), (EXPIRES - 1, true), (EXPIRES, true), (EXPIRES + 59, true), (EXPIRES + 60, false)] {
        assert_eq!(check(ALICE, now).is_ok(), good, "{now}");
    }
    for now in [EXPIRES + 60, EXPIRES + 61, u64::MAX] {
        assert_eq!(check(ALICE, now), Err(TokenError::Expired), "{now}");
    }
    assert_eq!(verify(ALICE, ["guess"], EXPIRES + 60), Err(TokenError::Signature));
    let forever = mint(1, "alice", u64::MAX, SECRET);
    assert_eq!(check(&forever, u64::MAX - 1).map(|claims| claims.expires), Ok(u64::MAX));
}

#[test]
fn a_token_begins_sixty_seconds_before_its_time() {
    let begin = 1_700_000_000;
    for token in [ALICE_ALL_CLAIMS, ALICE_FRACTIONS] {
        for (now, good) in [(0, false), (begin - 61, false), (begin - 60, true), (begin, true), (u64::MAX, false)] {
            let result = check(token, now);
            assert_eq!(result.is_ok(), good, "{now}");
            assert!(good || result == Err(TokenError::Expired), "{now}");
        }
    }
}

#[test]
fn either_of_two_secrets_signs_while_they_are_exchanged() {
    let both = [SECRET, "an older secret"];
    for token in [ALICE, ALICE_OLD_SECRET] {
        assert_eq!(verify(token, both, EXPIRES), Ok(alice()));
        assert_eq!(verify(token, both.into_iter().rev(), EXPIRES), Ok(alice()));
    }
    assert_eq!(verify(ALICE_OLD_SECRET, [SECRET], EXPIRES), Err(TokenError::Signature));
    assert_eq!(verify(ALICE, ["an older secret"], EXPIRES), Err(TokenError::Signature));
    assert_eq!(verify(ALICE, ["", "x", "y"], EXPIRES), Err(TokenError::Signature));
    assert_eq!(verify(ALICE, [], EXPIRES), Err(TokenError::Signature));
}

/// `{"pid":1,"sub":"alice","exp":1800000000,"x":"aaa…"}` in base64url; three letters `a` are `YWFh`.
fn long_token(letters: usize, end: &str, signature: &str) -> String {
    let begin = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJwaWQiOjEsInN1YiI6ImFsaWNlIiwiZXhwIjoxODAwMDAwMDAwLCJ4Ijoi";
    format!("{begin}{}{end}.{signature}", "YWFh".repeat(letters / 3))
}

#[test]
fn a_token_has_at_most_three_kibibytes() {
    assert_eq!(MAX_TOKEN, 3_072);
    let of_3071 = long_token(2195, "YWEifQ", "c9sm0NHZykUGgR_ynopNnjl82noDWmw45SWY7beNCQs");
    assert_eq!(of_3071.len(), 3071);
    let of_3072 = long_token(2196, "In0", "ovkyEzrRsJMEITDjPmzaWkXEc8551QM9y9zzuRlFm04");
    assert_eq!(of_3072.len(), 3072);
    let of_3073 = long_token(2197, "YSJ9", "_PfYrGAdaHq5lOb2THLiuaxtedx7pIXiLRyrpkvURhY");
    assert_eq!(of_3073.len(), 3073);
    assert_eq!(check(&of_3071, EXPIRES).map(|claims| claims.user), Ok("alice".into()));
    assert_eq!(check(&of_3072, EXPIRES).map(|claims| claims.user), Ok("alice".into()));
    assert_eq!(check(&of_3073, EXPIRES), Err(TokenError::NotAToken));
    assert_eq!(peek(&of_3073), Err(TokenError::NotAToken));
    assert_eq!(check(&"A".repeat(10_000_000), EXPIRES), Err(TokenError::NotAToken));
    assert_eq!(check(&".".repeat(1_000_000), EXPIRES), Err(TokenError::NotAToken));
}

#[test]
fn a_holder_can_read_the_claims_without_the_secret() {
    assert_eq!(peek(ALICE), Ok(alice()));
    let (signed, _) = ALICE.rsplit_once('.').unwrap();
    assert_eq!(peek(&format!("{signed}.")), Ok(alice()));
    assert_eq!(peek(&format!("{signed}.AA")), Ok(alice()));
    assert_eq!(peek(signed), Err(TokenError::NotAToken));
}

#[test]
fn each_refusal_has_its_code() {
    assert_eq!(TokenError::Expired.code(), 18);
    assert_eq!(TokenError::Claims.code(), 19);
    assert_eq!(TokenError::Signature.code(), 21);
    assert_eq!(TokenError::NotAToken.code(), 22);
    for error in [TokenError::Expired, TokenError::Claims, TokenError::Signature, TokenError::NotAToken] {
        assert!(code::ALL.contains(&error.code()));
    }
}

/// By PyJWT 2.15.1: `{"pid":11000001,"sub":"alice","iat":1700000000,"exp":1900000000,"jti":"one"}`.
const PYJWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJwaWQiOjExMDAwMDAxLCJzdWIiOiJhbGljZSIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjoxOTAwMDAwMDAwLCJqdGkiOiJvbmUifQ.\
     CO4INl7-CaV1s1PC1CHLKUUcGqtjc-VjSM29ds67piM";

/// By PyJWT 2.15.1, with a `kid`, a fraction, a claim of its own and letters that are escaped.
const PYJWT_MORE: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.\
     eyJzdWIiOiJcdTAwZmNiZXJhbGwiLCJwaWQiOi03LCJleHAiOjE5MDAwMDAwMDAuNSwibmJmIjoxNzAwMDAwMDAwLCJleHRyYSI6eyJhIjpbMSxudWxsXX19.\
     ZYNxnmjdAnyVshTOjMQo62El0wtONK13TvHFBopF_xI";

/// PyJWT 2.15.1 takes this one, and reads the claims of [`PYJWT`] from it.
const TAKEN_BY_PYJWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJleHAiOjE5MDAwMDAwMDAsImlhdCI6MTcwMDAwMDAwMCwianRpIjoib25lIiwicGlkIjoxMTAwMDAwMSwic3ViIjoiYWxpY2UifQ.\
     P_ILNXNuMo1-_wcrCE_b2RpTLSRrgNuUF73xhrFiPC4";

#[test]
fn tokens_of_pyjwt_are_taken_and_ours_are_those_that_it_takes() {
    let secret = "a secret that is shared with a backend";
    let mut claims = Claims { expires: 1_900_000_000, issued: Some(1_700_000_000), id: Some("one".into()), ..alice() };
    assert_eq!(verify(PYJWT, [secret], EXPIRES), Ok(claims.clone()));
    let ours = issue_with_id(claims.project, &claims.user, 1_700_000_000, claims.expires, Some("one"), secret);
    assert_eq!(ours, TAKEN_BY_PYJWT);
    (claims.project, claims.user, claims.issued, claims.id) = (-7, "\u{fc}berall".into(), None, None);
    assert_eq!(verify(PYJWT_MORE, [secret], EXPIRES), Ok(claims));
}
