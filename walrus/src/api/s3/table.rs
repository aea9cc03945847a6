//! Which handler serves which operation: one line each.

use super::cx::Cx;
use super::payload::Payload;
use super::reply::Reply;
use super::{
    acl, attributes, authorise, bucket, configuration, copy, cors, document, late, lifecycle, list, lock,
    logging, multipart, notification, object_delete, object_get, object_put, policy, tagging, versioning,
    website,
};
use axum::body::Body;
use futures_util::future::BoxFuture;
use karri_proto::aws::rest::BodyKind;
use karri_proto::aws::s3::{Operation, S3Action, S3Fault};
use karri_proto::sign::PayloadSeal;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A body that nobody has looked at.
pub struct Incoming {
    pub body: Body,
    pub seal: PayloadSeal,
    /// What documents may hold together.
    pub room: Arc<Semaphore>,
}

type Answer = BoxFuture<'static, Result<Reply, S3Fault>>;
type Run = Box<dyn Fn(Cx, Incoming) -> Answer + Send + Sync>;

pub struct Table {
    lines: Vec<Option<Run>>,
}

impl Table {
    pub fn get(&self, operation: Operation) -> Option<&Run> {
        self.lines.get(operation as usize)?.as_ref()
    }

    fn put<A: S3Action>(&mut self, run: Run) {
        if let Some(line) = self.lines.get_mut(A::OPERATION as usize) {
            *line = Some(run);
        }
    }

    /// The request is a head, or a head and a document.
    fn on<A, F, W>(&mut self, handler: F)
    where
        A: S3Action,
        F: Fn(Cx, A) -> W + Copy + Send + Sync + 'static,
        W: Future<Output = Result<A::Output, S3Fault>> + Send,
    {
        self.put::<A>(Box::new(move |cx, incoming| {
            Box::pin(async move {
                let request = request::<A>(&cx, incoming).await?;
                Ok(Reply::of::<A>(&handler(cx, request).await?))
            })
        }));
    }

    /// The handler makes its answer itself.
    fn raw<A, F, W>(&mut self, handler: F)
    where
        A: S3Action,
        F: Fn(Cx, A) -> W + Copy + Send + Sync + 'static,
        W: Future<Output = Result<Reply, S3Fault>> + Send,
    {
        self.put::<A>(Box::new(move |cx, incoming| {
            Box::pin(async move {
                let request = request::<A>(&cx, incoming).await?;
                handler(cx, request).await
            })
        }));
    }

    /// The answer may take long: it shows signs of life.
    fn late<A, F, W>(&mut self, handler: F)
    where
        A: S3Action,
        F: Fn(Cx, A) -> W + Copy + Send + Sync + 'static,
        W: Future<Output = Result<A::Output, S3Fault>> + Send + 'static,
    {
        self.put::<A>(Box::new(move |cx, incoming| {
            Box::pin(async move {
                let request = request::<A>(&cx, incoming).await?;
                let resource = cx.uri.path().to_owned();
                late::answer::<A>(Box::pin(handler(cx, request)), resource, late::SILENCE_MAX).await
            })
        }));
    }

    /// The body is the object's.
    fn upload<A, F, W>(&mut self, handler: F)
    where
        A: S3Action,
        F: Fn(Cx, A, Payload) -> W + Copy + Send + Sync + 'static,
        W: Future<Output = Result<A::Output, S3Fault>> + Send,
    {
        self.put::<A>(Box::new(move |cx, incoming| {
            Box::pin(async move {
                let payload = Payload::new(&cx, incoming.body, incoming.seal)?;
                let request = match cx.decode::<A>(&[]) {
                    Ok(request) => request,
                    Err(fault) => return Err(authorise::unless_denied(&cx, fault).await),
                };
                Ok(Reply::of::<A>(&handler(cx, request, payload).await?))
            })
        }));
    }
}

async fn request<A: S3Action>(cx: &Cx, incoming: Incoming) -> Result<A, S3Fault> {
    match A::REQUEST_BODY {
        BodyKind::Xml | BodyKind::Text => {
            // Its checksum is that of the object, not of the document.
            let of_object = A::OPERATION == Operation::CompleteMultipartUpload;
            let payload = match of_object {
                true => Payload::without_checksum(cx, incoming.body, incoming.seal)?,
                false => Payload::new(cx, incoming.body, incoming.seal)?,
            };
            if A::OPERATION == Operation::DeleteObjects && !payload.claims.protects() {
                return Err(object_delete::unprotected());
            }
            document::admit(cx, A::OPERATION).await?;
            let document = document::read(cx, payload, A::BODY_BYTES_MAX, &incoming.room).await?;
            cx.decode(&document.bytes)
        }
        BodyKind::None | BodyKind::Stream => {
            cx.left.put(incoming.body);
            let writes = matches!(A::OPERATION, Operation::CopyObject | Operation::CreateMultipartUpload);
            match cx.decode(&[]) {
                Err(fault) if writes => Err(authorise::unless_denied(cx, fault).await),
                decoded => decoded,
            }
        }
    }
}

pub fn table() -> Table {
    let mut table = Table { lines: Operation::ALL.iter().map(|_| None).collect() };
    let t = &mut table;
    t.on(bucket::list_buckets);
    t.on(bucket::create_bucket);
    t.on(bucket::head_bucket);
    t.on(bucket::delete_bucket);
    t.on(bucket::get_bucket_location);
    t.on(list::list_objects);
    t.on(list::list_objects_v2);
    t.on(list::list_object_versions);
    t.upload(object_put::put_object);
    t.raw(object_get::get_object);
    t.raw(object_get::head_object);
    t.on(object_delete::delete_object);
    t.on(object_delete::delete_objects);
    t.late(copy::copy_object);
    t.on(multipart::create_multipart_upload);
    t.upload(multipart::upload_part);
    t.late(multipart::upload_part_copy);
    t.raw(multipart::complete_multipart_upload);
    t.on(multipart::abort_multipart_upload);
    t.on(multipart::list_parts);
    t.on(multipart::list_multipart_uploads);
    t.on(acl::get_bucket_acl);
    t.on(acl::put_bucket_acl);
    t.on(acl::get_object_acl);
    t.on(acl::put_object_acl);
    t.on(policy::put_bucket_policy);
    t.on(policy::get_bucket_policy);
    t.on(policy::delete_bucket_policy);
    t.on(policy::get_bucket_policy_status);
    t.on(policy::put_public_access_block);
    t.on(policy::get_public_access_block);
    t.on(policy::delete_public_access_block);
    t.on(policy::put_bucket_ownership_controls);
    t.on(policy::get_bucket_ownership_controls);
    t.on(policy::delete_bucket_ownership_controls);
    t.on(tagging::get_bucket_tagging);
    t.on(tagging::put_bucket_tagging);
    t.on(tagging::delete_bucket_tagging);
    t.on(tagging::get_object_tagging);
    t.on(tagging::put_object_tagging);
    t.on(tagging::delete_object_tagging);
    t.on(versioning::get_bucket_versioning);
    t.on(versioning::put_bucket_versioning);
    t.on(lock::get_object_lock_configuration);
    t.on(lock::put_object_lock_configuration);
    t.on(lock::get_object_retention);
    t.on(lock::put_object_retention);
    t.on(lock::get_object_legal_hold);
    t.on(lock::put_object_legal_hold);
    t.on(attributes::get_object_attributes);
    t.on(attributes::restore_object);
    t.on(cors::get_bucket_cors);
    t.on(cors::put_bucket_cors);
    t.on(cors::delete_bucket_cors);
    t.on(lifecycle::get_bucket_lifecycle_configuration);
    t.on(lifecycle::put_bucket_lifecycle_configuration);
    t.on(lifecycle::delete_bucket_lifecycle);
    t.on(configuration::get_bucket_encryption);
    t.on(configuration::put_bucket_encryption);
    t.on(configuration::delete_bucket_encryption);
    t.on(website::get_bucket_website);
    t.on(website::put_bucket_website);
    t.on(website::delete_bucket_website);
    t.on(logging::get_bucket_logging);
    t.on(logging::put_bucket_logging);
    t.on(notification::get_bucket_notification_configuration);
    t.on(notification::put_bucket_notification_configuration);
    t.on(configuration::get_bucket_request_payment);
    t.on(configuration::put_bucket_request_payment);
    t.on(configuration::get_bucket_accelerate_configuration);
    t.on(configuration::put_bucket_accelerate_configuration);
    t.on(configuration::get_bucket_replication);
    t.on(configuration::put_bucket_replication);
    t.on(configuration::delete_bucket_replication);
    table
}
