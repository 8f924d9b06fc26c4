//! A gate without sockets: bytes in, bytes out.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crvideo_proto::frame::FrameError;
use tokio::sync::OwnedSemaphorePermit;

use super::desk::{Desk, Door};
use super::files::Upload;
use super::gate::Gate;
use super::outbox::Next;
use crate::config::Config;
use crate::core::{Core, Epochs};
use crate::guard::{Crowd, Paces};
use crate::http::Served;
use crate::shared::{Shared, unix_micros};
use crate::store::{Blobs, Database, Limits, LocalBlobs, MessageLimits, Messages, Stores};

/// A gate with a store in memory.
pub(crate) async fn gate(config: &Config) -> Result<Arc<Gate>, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let database = Database::open(None).map_err(|error| words(&error))?;
    let limits = Limits { keep: config.files.keep, project_quota: 0, min_free_percent: 0 };
    let blobs = LocalBlobs::open(None, database.clone(), limits).await.map_err(|error| format!("{error:?}"))?;
    let blobs: Arc<dyn Blobs> = Arc::new(blobs);
    let messages = Messages::new(database.clone(), MessageLimits::default());
    let epochs = Epochs::by_clock(unix_micros());
    let core = Core::new(config.settings(), config.tenants(), epochs, Box::new(|| Some([5; 16])));
    let stores = Stores { directory: Arc::new(database), blobs, messages };
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 13_325));
    let served = Served { address: here, encrypted: false };
    let crowd = Crowd::new(0, 0, false);
    Ok(Gate::new(
        config,
        Arc::new(Shared::new(core)),
        stores,
        here,
        Some(served),
        None,
        (crowd, Paces::new(&config.guard)),
    ))
}

/// One connection at the gate.
pub(crate) struct Visitor {
    desk: Desk,
    _place: OwnedSemaphorePermit,
    reader: crvideo_proto::rtm::reader::Reader,
    upload: Option<Upload>,
    said: Vec<u8>,
}

impl Visitor {
    /// A new one; `None` when there are too many.
    pub(crate) fn come(gate: &Arc<Gate>, door: Door) -> Option<Self> {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 13_325));
        let (desk, place) = gate.admit([here, here], door)?;
        Some(Self { desk, _place: place, reader: gate.files.reader(), upload: None, said: Vec::new() })
    }

    /// Takes bytes as `link` does.
    pub(crate) async fn hear(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        self.reader.feed(bytes);
        while let Some(event) = self.reader.next_event()? {
            let (desk, said) = (&self.desk, &mut self.said);
            let mut taking = std::pin::pin!(desk.take(event, &mut self.upload));
            loop {
                tokio::select! {
                    biased;
                    next = desk.client.out.next(), if !desk.client.out.is_closed() => write(desk, next, said),
                    () = &mut taking => break,
                }
            }
        }
        Ok(())
    }

    /// Everything that has been said, once nothing more waits.
    pub(crate) async fn end(mut self) -> Vec<u8> {
        self.desk.client.out.finish();
        loop {
            match self.desk.client.out.next().await {
                Next::Done | Next::Overflow => return self.said,
                next => write(&self.desk, next, &mut self.said),
            }
        }
    }
}

fn write(desk: &Desk, next: Next, said: &mut Vec<u8>) {
    if let Next::Write(mut batch) = next {
        while let Some(piece) = batch.pop() {
            said.extend_from_slice(&piece);
        }
        desk.client.out.written(&batch);
    }
}
