//! A store in a bucket of S3 or of a compatible server.
//!
//! Credentials and server come from the usual variables (`AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …). Without
//! them, containers and instances of Amazon provide the credentials.

use crate::bucket::Bucket;
use crate::fault::Fault;
use crate::object::{RemoteObject, WHOLE_BYTES};
use crate::options::RemoteOptions;
use crate::pusher::Pushers;
use crate::retry::{FailedRequest, Requests};
use crate::upload;
use bytes::Bytes;
use freestone_backend::{Backend, Created, Listed, Object, Spool};
use freestone_core::{Error, ErrorKind, Result, lock};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::{ObjectMeta, ObjectStoreExt};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// A store in a bucket.
pub struct S3 {
    bucket: Bucket,
    /// The machines that may push; known after [`Backend::prepare`].
    pusher: Mutex<Option<Pushers>>,
    /// Set when a listing did not begin with what sorts first.
    lists_in_no_order: AtomicBool,
    /// Set when the key may not delete, and the user was told.
    may_not_remove: AtomicBool,
}

/// The most objects of a folder that are listed: about 150 MB. A store that was compacted has a few
/// thousand.
const LISTED_MAX: usize = 1 << 20;
/// Pages of a listing that may be empty or short.
const PAGES_FREE: usize = 64;
/// The fewest objects that further pages have on the average.
const PAGE_KEYS_MIN: usize = 16;

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
            may_not_remove: AtomicBool::new(false),
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

    /// Converts an object of the server's listing of `folder`: its name without the prefix. Returns
    /// `None` for one that is not inside of the folder, such as the empty object by which consoles
    /// and file systems over S3 show the folder itself.
    fn listed(&self, folder: &str, meta: &ObjectMeta) -> Option<Listed> {
        let key = meta.location.as_ref();
        let name = match &self.bucket.prefix[..] {
            "" => key,
            prefix => key.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        let is_inside = name.strip_prefix(folder)?.starts_with('/');
        let modified = u64::try_from(meta.last_modified.timestamp()).unwrap_or(0);
        is_inside.then(|| Listed { name: name.into(), length: meta.size, modified })
    }

    /// Fetches the page of a listing that `token` names, the first if there is none. Returns it, and
    /// the token of the next.
    async fn page(
        &self,
        folder: &str,
        max_keys: Option<usize>,
        token: Option<&str>,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        let prefix = format!("{}/", self.bucket.path(folder)?);
        let request = || async {
            let page_token = token.map(ToOwned::to_owned);
            let options =
                PaginatedListOptions { max_keys, page_token, ..PaginatedListOptions::default() };
            let page = self.bucket.s3.list_paginated(Some(&prefix), options).await?;
            let objects = page.result.objects.iter();
            let listed = objects.filter_map(|meta| self.listed(folder, meta)).collect();
            Ok((listed, page.page_token))
        };
        self.requests().make(&format!("list {folder}"), request).await
    }

    /// Fetches a whole listing, page by page, as long as the server's answers can be those of a
    /// listing that ends.
    async fn pages(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        let (mut token, mut count) = (None::<String>, 0);
        loop {
            let (page, next) = self.page(folder, None, token.as_deref()).await?;
            listed.extend(page);
            count += 1;
            if listed.len() > LISTED_MAX {
                return Err(Error::new(
                    ErrorKind::Storage,
                    format!("{} has more than {LISTED_MAX} objects in {folder}", self.place()),
                )
                .hint(
                    "run `freestone store compact`, or check that the bucket has this store only",
                ));
            }
            let is_endless = next.is_some() && next == token
                || count > PAGES_FREE + listed.len() / PAGE_KEYS_MIN;
            match next {
                None => break,
                Some(_) if is_endless => {
                    return Err(Error::new(
                        ErrorKind::Storage,
                        format!("{}: the server's listing of {folder} does not end", self.place()),
                    )
                    .hint("check that AWS_ENDPOINT_URL names the right server"));
                }
                next => token = next,
            }
        }
        listed.sort_unstable();
        listed.dedup();
        Ok(listed)
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
        self.requests().run(self.pages(folder))
    }

    fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        if !self.lists_in_no_order.load(Ordering::Relaxed) {
            // What shows the folder itself comes first.
            let keys = count.saturating_add(1);
            let (listed, next) = self.requests().run(self.page(folder, Some(keys), None))?;
            if !is_in_order(&listed) {
                self.lists_in_no_order.store(true, Ordering::Relaxed);
            } else if next.is_none() || listed.len() >= count {
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
        let requests = self.requests();
        match requests.run(async { Ok(requests.attempt(|| self.bucket.s3.delete(&path)).await) })? {
            Ok(_) => Ok(()),
            Err(FailedRequest { fault: Fault::Missing, .. }) => Ok(()),
            Err(failed) => {
                if failed.fault == Fault::Denied
                    && !self.may_not_remove.swap(true, Ordering::Relaxed)
                {
                    requests.notice(&format!(
                        "{}: the key may not delete, so merged index segments stay; `freestone \
                         status` counts them",
                        requests.place()
                    ));
                }
                Err(requests.error(&format!("remove {name}"), failed))
            }
        }
    }
}

/// Returns true if a page holds objects in order, as S3's specification requires. Amazon's own
/// directory buckets list in no order, and so may servers that are compatible with S3.
fn is_in_order(page: &[Listed]) -> bool {
    page.windows(2).all(|pair| pair[0].name < pair[1].name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_used_only_in_order() {
        let is_used = |names: &[&str]| {
            let listed = |name: &&str| Listed { name: (*name).into(), length: 1, modified: 0 };
            is_in_order(&names.iter().map(listed).collect::<Vec<_>>())
        };
        assert!(is_used(&[]));
        assert!(is_used(&["refs/a/1"]));
        assert!(is_used(&["refs/a/1", "refs/a/2", "refs/a/latest"]));
        assert!(!is_used(&["refs/a/2", "refs/a/1"]));
        assert!(!is_used(&["refs/a/1", "refs/a/3", "refs/a/2"]));
        assert!(!is_used(&["refs/a/1", "refs/a/1"]));
    }
}
