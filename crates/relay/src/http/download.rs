//! One stored file as an answer.

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::response::Builder;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use tracing::error;

use super::body::FileBody;
use super::range::{self, Part};
use super::{Shelf, label};
use crate::store::Blob;

/// Answers with all or a part of a file.
pub(super) async fn answer(shelf: &Shelf, blob: &Blob, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", blob.hash);
    if only(headers, IF_NONE_MATCH).is_some_and(|list| names(list, &tag)) {
        return finish(head(StatusCode::NOT_MODIFIED, &tag), Body::empty());
    }
    match part(headers, &tag, blob.size) {
        Part::Unsatisfiable => {
            let head = head(StatusCode::RANGE_NOT_SATISFIABLE, &tag);
            finish(head.header(CONTENT_RANGE, format!("bytes */{}", blob.size)), Body::empty())
        }
        Part::Whole => content(shelf, blob, head(StatusCode::OK, &tag), 0, blob.size).await,
        Part::Range { first, last } => {
            let head = head(StatusCode::PARTIAL_CONTENT, &tag);
            let head = head.header(CONTENT_RANGE, format!("bytes {first}-{last}/{}", blob.size));
            content(shelf, blob, head, first, last - first + 1).await
        }
    }
}

/// A header that stands there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value.trim())
}

/// Whether a list of tags has this one.
fn names(list: &str, tag: &str) -> bool {
    list == "*" || list.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

/// The part that is asked for. Another version than the one that the client has a part of is sent whole.
fn part(headers: &HeaderMap, tag: &str, size: u64) -> Part {
    let same = headers.get(IF_RANGE).is_none() || only(headers, IF_RANGE) == Some(tag);
    only(headers, RANGE).filter(|_| same).map_or(Part::Whole, |range| range::read(range, size))
}

/// What every answer about a file says.
fn head(status: StatusCode, tag: &str) -> Builder {
    // Browsers neither guess another type nor run anything, and no cache between keeps what only its owner may see.
    Response::builder()
        .status(status)
        .header(ETAG, tag)
        .header(ACCEPT_RANGES, "bytes")
        .header(CACHE_CONTROL, "private, no-transform")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox")
}

async fn content(shelf: &Shelf, blob: &Blob, head: Builder, at: u64, len: u64) -> Response {
    match shelf.blobs.open(blob.clone()).await {
        Ok(content) => {
            let head = head
                .header(CONTENT_TYPE, label::content_type(&blob.name))
                .header(CONTENT_DISPOSITION, label::disposition(&blob.name))
                .header(CONTENT_LENGTH, len);
            finish(head, Body::new(FileBody::new(content, at, len, &shelf.memory.downloads)))
        }
        Err(error) => {
            error!(id = %blob.id, %error, "a stored file cannot be opened");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn finish(head: Builder, body: Body) -> Response {
    head.body(body).unwrap_or_else(|error| {
        error!(%error, "an HTTP answer cannot be made");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}
