//! A simulated image store that writes root disks to buckets as bundles: what it says, and what it was asked for.

use async_trait::async_trait;
use karri_proto::ids::BundleTaskId;
use karri_proto::internal::instance_bundles::{
    BundleTarget, CaptureExpected, InstanceBundle, InstanceBundleProgress, InstanceBundleService,
};
use karri_proto::internal::{ApiError, Caller};
use std::sync::Mutex;

#[derive(Default)]
pub struct FakeInstanceBundles {
    /// Why nobody may write.
    pub refused: Mutex<Option<ApiError>>,
    /// What comes of every bundle; without one, it is under way.
    pub outcome: Mutex<Option<Result<InstanceBundleProgress, ApiError>>>,
    /// It is too late to give a bundle up.
    pub written: Mutex<bool>,
    pub inspected: Mutex<Vec<BundleTarget>>,
    pub expected: Mutex<Vec<CaptureExpected>>,
    pub asked: Mutex<Vec<InstanceBundle>>,
    pub abandoned: Mutex<Vec<InstanceBundle>>,
    pub no_more: Mutex<Vec<BundleTaskId>>,
}

#[async_trait]
impl InstanceBundleService for FakeInstanceBundles {
    async fn instance_bundle_inspect(&self, _: &Caller, target: &BundleTarget) -> Result<(), ApiError> {
        self.inspected.lock().unwrap().push(target.clone());
        self.refused.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn capture_expect(&self, _: &Caller, expected: &CaptureExpected) -> Result<(), ApiError> {
        self.expected.lock().unwrap().push(expected.clone());
        Ok(())
    }

    async fn instance_bundle_make(
        &self,
        _: &Caller,
        bundle: &InstanceBundle,
    ) -> Result<InstanceBundleProgress, ApiError> {
        self.asked.lock().unwrap().push(bundle.clone());
        let known = self.outcome.lock().unwrap().clone();
        known.unwrap_or(Ok(InstanceBundleProgress::Making { done: 1, all: 4 }))
    }

    async fn instance_bundle_abandon(&self, _: &Caller, bundle: &InstanceBundle) -> Result<bool, ApiError> {
        self.abandoned.lock().unwrap().push(bundle.clone());
        Ok(*self.written.lock().unwrap())
    }

    async fn capture_refuse(&self, _: &Caller, task: &BundleTaskId) -> Result<(), ApiError> {
        self.no_more.lock().unwrap().push(task.clone());
        Ok(())
    }
}
