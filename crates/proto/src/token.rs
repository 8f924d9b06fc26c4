//! Tokens: JSON Web Tokens (RFC 7519) signed with HS256 (RFC 7515, RFC 7518).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The relay tolerates clocks that differ by this many seconds.
pub const CLOCK_TOLERANCE_S: u64 = 60;
/// Longest token in bytes; it must fit a frame before login.
pub const MAX_TOKEN: usize = 3 * 1024;

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Project id.
    pub project: i64,
    /// User id.
    pub user: String,
    /// Seconds since 1970.
    pub expires: u64,
    /// When it was made, in seconds since 1970, if it says so.
    pub issued: Option<u64>,
    /// The token's own id, for revocation.
    pub id: Option<String>,
}

/// Why a token is refused. Each stands for one of the contract's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Not a JWT with HS256.
    NotAToken,
    /// The signature fits none of the secrets.
    Signature,
    /// Expired, or not valid yet.
    Expired,
    /// Claims are missing, or name another project or user.
    Claims,
}

impl TokenError {
    /// The contract's code.
    pub fn code(self) -> i32 {
        match self {
            TokenError::NotAToken => crate::code::TOKEN_NOTTOKENTYPE,
            TokenError::Signature => crate::code::TOKEN_AUTH_FAILED,
            TokenError::Expired => crate::code::TOKEN_TIMEOUT,
            TokenError::Claims => crate::code::TOKEN_AUTHINFOERR,
        }
    }
}

fn mac(secret: &[u8], signed: &str) -> Option<Hmac<Sha256>> {
    // HMAC takes a key of any length, so this is never `None`.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(signed.as_bytes());
    Some(mac)
}

/// Mints a token that expires at `expires` (seconds since 1970).
pub fn mint(project: i64, user: &str, expires: u64, secret: &str) -> String {
    sign(&json!({ "pid": project, "sub": user, "exp": expires }), secret)
}

/// Mints a token that also says when it was made, so that it outlives the revocation of older ones.
pub fn issue(project: i64, user: &str, issued: u64, expires: u64, secret: &str) -> String {
    sign(&json!({ "pid": project, "sub": user, "iat": issued, "exp": expires }), secret)
}

/// The same with the token's own id, by which it can be revoked.
pub fn issue_with_id(project: i64, user: &str, issued: u64, expires: u64, id: Option<&str>, secret: &str) -> String {
    let mut claims = json!({ "pid": project, "sub": user, "iat": issued, "exp": expires });
    if let (Some(id), Some(claims)) = (id, claims.as_object_mut()) {
        claims.insert("jti".to_owned(), id.into());
    }
    sign(&claims, secret)
}

fn sign(claims: &Value, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = mac(secret.as_bytes(), &signed).map(|mac| mac.finalize().into_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap_or_default()))
}

/// The claims of a token, read without checking its signature or time: what its holder can know of it.
pub fn peek(token: &str) -> Result<Claims, TokenError> {
    let (signed, _) = token.rsplit_once('.').ok_or(TokenError::NotAToken)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::NotAToken)?;
    if token.len() > MAX_TOKEN {
        return Err(TokenError::NotAToken);
    }
    let header = decode(header)?;
    // RFC 7515, 4.1.11: what `crit` names must be understood, and nothing of that kind is.
    if header.get("alg").and_then(Value::as_str) != Some("HS256") || header.get("crit").is_some() {
        return Err(TokenError::NotAToken);
    }
    let claims = decode(payload)?;
    Ok(Claims {
        project: claims.get("pid").and_then(Value::as_i64).ok_or(TokenError::Claims)?,
        user: claims.get("sub").and_then(Value::as_str).ok_or(TokenError::Claims)?.to_owned(),
        expires: seconds(claims.get("exp")).ok_or(TokenError::Claims)?,
        issued: seconds(claims.get("iat")),
        id: claims.get("jti").and_then(Value::as_str).map(str::to_owned),
    })
}

/// Checks a token against a project's secrets and the time (seconds since 1970).
pub fn verify<'a>(token: &str, secrets: impl IntoIterator<Item = &'a str>, now: u64) -> Result<Claims, TokenError> {
    let claims = peek(token);
    if claims == Err(TokenError::NotAToken) {
        return claims;
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::NotAToken)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::NotAToken)?;
    // `verify_slice` compares in constant time.
    let fits = |secret: &str| mac(secret.as_bytes(), signed).is_some_and(|mac| mac.verify_slice(&signature).is_ok());
    if !secrets.into_iter().fold(false, |found, secret| fits(secret) | found) {
        return Err(TokenError::Signature);
    }
    let claims = claims?;
    if claims.expires.saturating_add(CLOCK_TOLERANCE_S) <= now {
        return Err(TokenError::Expired);
    }
    let (_, payload) = signed.split_once('.').ok_or(TokenError::NotAToken)?;
    match decode(payload)?.get("nbf") {
        None => Ok(claims),
        from => match seconds(from) {
            Some(from) if from <= now.saturating_add(CLOCK_TOLERANCE_S) => Ok(claims),
            Some(_) => Err(TokenError::Expired),
            None => Err(TokenError::Claims),
        },
    }
}

/// A NumericDate, which RFC 7519 allows to have a fraction.
fn seconds(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_f64().filter(|value| (0.0..9e15).contains(value)).map(|value| value as u64))
}

fn decode(part: &str) -> Result<Value, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::NotAToken)?;
    match serde_json::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(TokenError::NotAToken),
    }
}
