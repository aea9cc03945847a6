//! A blob on its way to the engine: one PUT when it fits a part, else an upload in parts, of which a few are under
//! way while the next one fills. Nothing of it is an object before `finish`.

use super::super::buffer::Buffer;
use super::super::{Append, BlobId};
use super::collect::Writing;
use super::engine::Call;
use super::fault::EngineError;
use super::spool::{Part, PartWriter};
use super::{Inner, collect};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Parts under way to the engine, of one writer.
const PARTS_AT_ONCE: usize = 2;

pub struct S3Append {
    inner: Arc<Inner>,
    key: String,
    filling: Option<PartWriter>,
    bytes: u64,
    upload: Option<Upload>,
    state: State,
    writing: Option<Writing>,
}

struct Upload {
    id: String,
    mark: String,
    /// In the order of their numbers.
    under_way: VecDeque<JoinHandle<Result<String, EngineError>>>,
    etags: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The engine was asked for the object; whether it has made it is not known.
    Asked,
    Finished,
}

impl S3Append {
    pub fn new(inner: Arc<Inner>, id: BlobId) -> Self {
        let (key, writing) = (inner.names.key(id), Some(inner.leftovers.writing(id)));
        Self { inner, key, filling: None, bytes: 0, upload: None, state: State::Open, writing }
    }

    /// The part is on its way to the engine when it returns.
    async fn send(&mut self, part: Part) -> io::Result<()> {
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => {
                let mark = hex::encode(rand::random::<[u8; 16]>());
                let id = self.inner.engine.begin_upload(&self.key, &mark).await?;
                Upload { id, mark, under_way: VecDeque::new(), etags: Vec::new() }
            }
        };
        let number = upload.etags.len() + upload.under_way.len() + 1;
        let call = Call::new("PUT", self.key.clone())
            .query("partNumber", number.to_string())
            .query("uploadId", upload.id.clone())
            .part(part);
        let inner = self.inner.clone();
        upload.under_way.push_back(tokio::spawn(async move {
            let answer = inner.engine.call(&call).await?;
            match answer.text("etag") {
                "" => Err(EngineError::Nonsense("a part without ETag".to_owned())),
                etag => Ok(etag.to_owned()),
            }
        }));
        self.upload.insert(upload).down_to(PARTS_AT_ONCE).await
    }

    async fn last(&mut self) -> io::Result<()> {
        let part = self.filling.take().map(PartWriter::finish);
        if self.upload.is_none() {
            let Some(part) = part else { return Err(io::Error::other("a blob without a byte")) };
            self.state = State::Asked;
            self.inner.engine.call(&Call::new("PUT", self.key.clone()).part(part)).await?;
            return Ok(());
        }
        if let Some(part) = part {
            self.send(part).await?;
        }
        let Some(upload) = &mut self.upload else { return Ok(()) };
        upload.down_to(0).await?;
        self.state = State::Asked;
        let engine = &self.inner.engine;
        Ok(engine.complete_upload(&self.key, &upload.id, &upload.etags, &upload.mark, self.bytes).await?)
    }
}

impl Upload {
    /// Waits until no more than so many parts are under way.
    async fn down_to(&mut self, count: usize) -> io::Result<()> {
        while self.under_way.len() > count {
            let Some(first) = self.under_way.front_mut() else { break };
            let etag = first.await.map_err(io::Error::other)?;
            self.under_way.pop_front();
            self.etags.push(etag?);
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Append for S3Append {
    async fn append(&mut self, mut bytes: Buffer) -> io::Result<()> {
        let (len, mut from) = (bytes.len(), 0);
        while from < len {
            let part = match self.filling.take() {
                Some(part) if part.is_full() => {
                    self.send(part.finish()).await?;
                    self.inner.spool.begin().await?
                }
                Some(part) => part,
                None => self.inner.spool.begin().await?,
            };
            let (part, rest, to) = part.write(bytes, from).await?;
            self.bytes += (to - from) as u64;
            (self.filling, bytes, from) = (Some(part), rest, to);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.last().await?;
        self.state = State::Finished;
        Ok(())
    }
}

impl Drop for S3Append {
    fn drop(&mut self) {
        if self.state == State::Finished {
            return;
        }
        let asked = self.state == State::Asked;
        let upload = self.upload.take();
        if upload.is_none() && !asked {
            return;
        }
        // Without a runtime the process is ending; the next one collects what this one has left.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (inner, key, writing) = (self.inner.clone(), self.key.clone(), self.writing.take());
        runtime.spawn(async move {
            let mut upload = upload;
            for part in upload.iter_mut().flat_map(|upload| upload.under_way.drain(..)) {
                part.abort();
                let _ = part.await; // whatever became of it goes with the upload
            }
            let upload = upload.as_ref().map(|upload| upload.id.as_str());
            collect::undo(&inner, &key, upload, asked, writing).await;
        });
    }
}
