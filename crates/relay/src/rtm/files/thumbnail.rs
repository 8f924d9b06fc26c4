//! Small pictures of images that are sent: the `surl` of a file message.
//!
//! Whoever sends an image decides what is decoded here, so nothing of it is trusted: size, pixels, memory and the number
//! at a time are bounded, and an image that cannot be read, or not soon, is sent without a small picture.

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageError, ImageReader, Limits};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Files;
use crate::store::{About, Blob};

/// The message type of images.
pub(super) const IMAGE: i8 = 40;
/// Larger files are not looked at.
const MAX_SOURCE: u64 = 16 * 1024 * 1024;
/// Images of more pixels are not decoded.
const MAX_PIXELS: u64 = 16_000_000;
/// What a decoder may take in memory.
const MAX_MEMORY: u64 = 64 * 1024 * 1024;
/// Width and height of the small picture, at most.
const SIDE: u32 = 320;
/// Of the small picture, from 1 to 100.
const QUALITY: u8 = 80;
/// SDKs wait 5 s for the answer to a file, so a small picture that is not ready by then is done without.
const PATIENCE: Duration = Duration::from_secs(2);

/// Images that are decoded at once.
pub(super) fn places() -> Semaphore {
    Semaphore::new(1)
}

impl Files {
    /// Stores a small picture of a stored image; `None` when there can be none.
    pub(super) async fn thumbnail(&self, image: &Blob) -> Option<Blob> {
        if image.size == 0 || image.size > MAX_SOURCE {
            return None;
        }
        let made = timeout(PATIENCE, async {
            // Nobody closes this semaphore.
            let place = self.thumbnails.clone().acquire_owned().await.ok()?;
            let content = self.blobs.open(image.clone()).await.ok()?;
            let (_, bytes) = content.read(0, usize::try_from(image.size).ok()?).await.ok()?;
            // The place is held until the decoder ends, also when nobody waits for it any more.
            let work = tokio::task::spawn_blocking(move || (picture(&bytes), place));
            work.await.map(|(picture, _)| picture).inspect_err(|error| warn!(%error, "an image broke its decoder")).ok()
        });
        let picture = match made.await {
            Ok(picture) => picture?,
            Err(_) => {
                debug!(blob = %image.id, "an image is sent without a small picture: it took too long");
                return None;
            }
        };
        let picture = picture.inspect_err(|error| debug!(blob = %image.id, %error, "no small picture of an image"));
        self.keep_picture(image.project, picture.ok()?).await
    }

    async fn keep_picture(&self, project: i64, picture: Bytes) -> Option<Blob> {
        let mut spool = self.blobs.spool();
        spool.write(&picture).await.ok()?;
        let content = spool.finish().await.ok()?;
        let about = About { project, name: "thumbnail.jpg".to_owned() };
        // A project without room for it has none for the image either, and hears that there.
        self.blobs.keep(content, about).await.inspect_err(|error| debug!(?error, "a small picture is not kept")).ok()
    }
}

/// The small picture of an image, as JPEG.
fn picture(bytes: &[u8]) -> Result<Bytes, ImageError> {
    let reader = || ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let (width, height) = reader()?.into_dimensions()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_MEMORY);
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let kind = image::error::LimitErrorKind::DimensionError;
        return Err(ImageError::Limits(image::error::LimitError::from_kind(kind)));
    }
    let mut reader = reader()?;
    reader.limits(limits);
    let small = reader.decode()?.thumbnail(SIDE, SIDE).into_rgb8();
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, QUALITY).encode_image(&small)?;
    Ok(out.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use image::{ImageFormat, RgbImage};

    use super::*;

    fn image(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn every_usual_kind_of_image_gets_a_small_picture_of_its_shape() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP] {
            let small = picture(&image(800, 200, format)).unwrap();
            let small = image::load_from_memory_with_format(&small, ImageFormat::Jpeg).unwrap();
            assert_eq!((small.width(), small.height()), (320, 80), "{format:?}");
        }
    }

    #[test]
    fn what_is_no_image_or_claims_too_much_gets_none() {
        assert!(picture(b"").is_err());
        assert!(picture(b"no image at all, but text").is_err());
        let good = image(100, 100, ImageFormat::Png);
        assert!(picture(&good[..good.len() / 2]).is_err());
        // A PNG's width and height stand behind its signature and the head of its first chunk.
        let mut huge = good;
        huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        assert!(matches!(picture(&huge), Err(ImageError::Limits(_) | ImageError::Decoding(_))));
    }
}
