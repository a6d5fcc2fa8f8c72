//! A store in a bucket of S3 or of a compatible server.
//!
//! Credentials and server come from the usual variables (`AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …). Without
//! them, containers and instances of Amazon provide the credentials.

use crate::bucket::Bucket;
use crate::object::{RemoteObject, WHOLE_BYTES};
use crate::options::RemoteOptions;
use crate::pusher::Pushers;
use crate::retry::Requests;
use crate::upload;
use bytes::Bytes;
use freestone_backend::{Backend, Created, Listed, Object, Spool};
use freestone_core::{Error, Result, lock};
use futures_util::TryStreamExt;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// A store in a bucket.
pub struct S3 {
    bucket: Bucket,
    /// The machines that may push; known after [`Backend::prepare`].
    pusher: Mutex<Option<Pushers>>,
    /// Set when a listing did not begin with what sorts first.
    lists_in_no_order: AtomicBool,
}

impl S3 {
    /// Returns the store below `prefix` of `bucket`. No request is made yet.
    ///
    /// # Errors
    /// A variable of the environment is invalid.
    pub fn new(bucket: &str, prefix: &str, options: RemoteOptions) -> Result<Self> {
        Ok(Self {
            bucket: Bucket::new(bucket, prefix, options)?,
            pusher: Mutex::default(),
            lists_in_no_order: AtomicBool::new(false),
        })
    }

    fn requests(&self) -> &Requests {
        self.bucket.requests()
    }

    /// Returns the object `name` of known length; `kept` are bytes of it and their offset.
    fn object(&self, name: &str, length: u64, kept: Option<(u64, Bytes)>) -> Result<RemoteObject> {
        Ok(RemoteObject {
            reader: self.bucket.reader.clone(),
            name: name.into(),
            path: self.bucket.path(name)?,
            length,
            kept: Mutex::new(kept),
        })
    }

    /// Converts an object of the server's listing: its name without the prefix.
    fn listed(&self, meta: ObjectMeta) -> Listed {
        let skipped = if self.bucket.prefix.is_empty() { 0 } else { self.bucket.prefix.len() + 1 };
        Listed {
            name: meta.location.as_ref().get(skipped..).unwrap_or_default().into(),
            length: meta.size,
        }
    }

    /// Fetches one page of a listing. Returns it, and true if there is more.
    async fn page(&self, folder: &str, count: usize) -> Result<(Vec<Listed>, bool)> {
        let prefix = format!("{}/", self.bucket.path(folder)?);
        let request = || async {
            let options =
                PaginatedListOptions { max_keys: Some(count), ..PaginatedListOptions::default() };
            let page = self.bucket.s3.list_paginated(Some(&prefix), options).await?;
            let objects = page.result.objects.into_iter();
            Ok((objects.map(|meta| self.listed(meta)).collect(), page.page_token.is_some()))
        };
        self.requests().make(&format!("list {folder}"), request).await
    }

    /// Returns true if the server is known to ignore conditions.
    fn ignores_conditions(&self) -> bool {
        let pusher = lock(&self.pusher);
        matches!(*pusher, Some(Pushers::ThisOne))
    }
}

impl Backend for S3 {
    fn place(&self) -> String {
        self.requests().place().into()
    }

    fn is_far(&self) -> bool {
        true
    }

    fn prepare(&self) -> Result<()> {
        let mut pusher = lock(&self.pusher);
        if pusher.is_none() {
            *pusher = Some(self.requests().run(Pushers::find(&self.bucket))?);
        }
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let path = self.bucket.path(folder)?;
        let list = || async {
            let list = self.bucket.s3.list(Some(&path)).map_ok(|meta| self.listed(meta));
            let mut listed: Vec<Listed> = list.try_collect().await?;
            listed.sort_unstable();
            Ok(listed)
        };
        self.requests().run(self.requests().make(&format!("list {folder}"), list))
    }

    fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        if !self.lists_in_no_order.load(Ordering::Relaxed) {
            let (listed, is_cut) = self.requests().run(self.page(folder, count))?;
            if !begins_in_order(folder, &listed) {
                self.lists_in_no_order.store(true, Ordering::Relaxed);
            } else if !is_cut || listed.len() >= count {
                return Ok(listed);
            }
        }
        self.list(folder)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        let path = self.bucket.path(name)?;
        let found = self.requests().run(self.bucket.reader.start(name, &path, WHOLE_BYTES))?;
        let Some((bytes, length)) = found else { return Ok(None) };
        Ok(Some(Box::new(self.object(name, length, Some((0, bytes)))?)))
    }

    fn open_listed(&self, name: &str, length: u64) -> Result<Box<dyn Object>> {
        Ok(Box::new(self.object(name, length, None)?))
    }

    fn read_range(&self, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.bucket.reader.fill(name, &self.bucket.path(name)?, offset, out)
    }

    fn hint(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.requests().run(self.bucket.put_over(name, Bytes::copy_from_slice(bytes)))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.requests().run(async {
            if self.ignores_conditions() && self.bucket.length(name).await?.is_some() {
                return Ok(Created::Existed);
            }
            self.bucket.put_new(name, bytes).await
        })
    }

    fn spool(&self) -> Result<Spool> {
        let failed = |error| {
            Error::io("cannot create a temporary file for a pack", error)
                .hint("packs are first written to TMPDIR, which needs room for a few of them")
        };
        // The file has no name, so nothing is left of it however this process ends.
        Ok(Spool::new(tempfile::tempfile().map_err(failed)?))
    }

    fn publish(&self, spool: Spool, name: &str) -> Result<Created> {
        self.requests().run(upload::publish(&self.bucket, spool.file(), name))
    }

    fn settle(&self, _: &str) -> Result<()> {
        // An object that a server lists is as durable as it can be.
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.bucket.path(name)?;
        let remove = || self.bucket.s3.delete(&path);
        self.requests().run(self.requests().find(&format!("remove {name}"), remove)).map(drop)
    }
}

/// Returns true if a page holds objects of `folder` in order, as S3's specification requires.
/// Amazon's own directory buckets list in no order, and so may servers that are compatible with S3.
fn begins_in_order(folder: &str, page: &[Listed]) -> bool {
    let is_inside = |listed: &Listed| {
        listed.name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    page.iter().all(is_inside) && page.windows(2).all(|pair| pair[0].name < pair[1].name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_used_only_in_order() {
        let is_used = |names: &[&str]| {
            let listed = |name: &&str| Listed { name: (*name).into(), length: 1 };
            begins_in_order("refs/a", &names.iter().map(listed).collect::<Vec<_>>())
        };
        assert!(is_used(&[]));
        assert!(is_used(&["refs/a/1"]));
        assert!(is_used(&["refs/a/1", "refs/a/2", "refs/a/latest"]));
        assert!(!is_used(&["refs/a/2", "refs/a/1"]));
        assert!(!is_used(&["refs/a/1", "refs/a/3", "refs/a/2"]));
        assert!(!is_used(&["refs/a/1", "refs/a/1"]));
        assert!(!is_used(&["refs/a/1", "refs/ab/1"]));
        assert!(!is_used(&["index/1"]));
    }
}
