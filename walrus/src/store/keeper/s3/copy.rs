//! A blob once more under another name, copied by the engine itself.

use super::super::BlobId;
use super::collect::Writing;
use super::documents::{self, Made};
use super::engine::Call;
use super::fault::EngineError;
use super::{Inner, collect};
use std::io;
use std::sync::Arc;

/// An engine may copy every byte: so many, it does within the time of a request.
const STEP_BYTES: u64 = if cfg!(test) { 6 << 20 } else { 128 << 20 };

/// Undoes what it has begun when it is given up.
struct Copying {
    inner: Arc<Inner>,
    key: String,
    upload: Option<String>,
    writing: Option<Writing>,
    done: bool,
}

impl Drop for Copying {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.done {
            return;
        }
        let (inner, key) = (self.inner.clone(), std::mem::take(&mut self.key));
        let (upload, writing) = (self.upload.take(), self.writing.take());
        runtime.spawn(async move { collect::undo(&inner, &key, upload.as_deref(), true, writing).await });
    }
}

pub async fn copy(inner: &Arc<Inner>, from: BlobId, to: BlobId, bytes: u64) -> io::Result<()> {
    let source = format!("/{}/{}", inner.engine.bucket(), inner.names.key(from));
    let (key, writing) = (inner.names.key(to), Some(inner.leftovers.writing(to)));
    let mut copying = Copying { inner: inner.clone(), key, upload: None, writing, done: false };
    if bytes <= STEP_BYTES {
        let call =
            Call::new("PUT", copying.key.clone()).header(SOURCE, source).answered_by("CopyObjectResult");
        inner.engine.call(&call).await?;
    } else {
        in_steps(&mut copying, &source, bytes).await?;
    }
    copying.done = true;
    Ok(())
}

const SOURCE: &str = "x-amz-copy-source";

async fn in_steps(copying: &mut Copying, source: &str, bytes: u64) -> Result<(), EngineError> {
    let inner = copying.inner.clone();
    let mark = hex::encode(rand::random::<[u8; 16]>());
    let upload = inner.engine.begin_upload(&copying.key, &mark).await?;
    let upload = copying.upload.insert(upload);
    let mut etags = Vec::new();
    for from in (0..bytes).step_by(STEP_BYTES as usize) {
        let last = bytes.min(from + STEP_BYTES) - 1;
        let call = Call::new("PUT", copying.key.clone())
            .query("partNumber", (etags.len() + 1).to_string())
            .query("uploadId", upload.clone())
            .header(SOURCE, source)
            .header("x-amz-copy-source-range", format!("bytes={from}-{last}"))
            .answered_by("CopyPartResult");
        let made: Made = documents::read(&inner.engine.call(&call).await?.body, "CopyPartResult")?;
        etags.push(made.etag);
    }
    inner.engine.complete_upload(&copying.key, upload, &etags, &mark, bytes).await
}
