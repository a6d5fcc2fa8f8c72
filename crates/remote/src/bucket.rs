//! The objects of a store in a bucket, below a prefix: names, creation, lengths.

use crate::client::Connector;
use crate::fault::{Fault, says_nothing};
use crate::object::ObjectReader;
use crate::options::RemoteOptions;
use crate::retry::{FailedRequest, Requests};
use crate::settings::Settings;
use bytes::Bytes;
use freestone_backend::Created;
use freestone_core::{Error, ErrorKind, Result, shown};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use std::sync::Arc;
use std::time::Duration;

/// A bucket, and the prefix of a store in it.
pub(crate) struct Bucket {
    pub(crate) s3: Arc<AmazonS3>,
    pub(crate) reader: Arc<ObjectReader>,
    pub(crate) prefix: String,
}

/// Returns the options that switch object_store's own retries off, since `retry` does them.
pub(crate) fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() }
}

impl Bucket {
    /// Reads the settings of the environment. No request is made yet.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub(crate) fn new(bucket: &str, prefix: &str, options: RemoteOptions) -> Result<Self> {
        let place =
            crate::StoreUrl::S3 { bucket: bucket.into(), prefix: prefix.into() }.to_string();
        let settings = Settings::read(options.environment.as_deref())?;
        let builder = settings
            .apply(AmazonS3Builder::new())
            .with_bucket_name(bucket)
            .with_retry(no_retries())
            .with_disable_bulk_delete(true)
            .with_http_connector(Connector::new(&options)?);
        let endpoint = settings.endpoint().map_or_else(|| "Amazon S3".to_owned(), shown::url);
        let s3 = builder.build().map_err(|error| {
            Error::new(ErrorKind::Usage, format!("{place}: {error}"))
                .hint("check the variables AWS_…; docs/remote.md lists them")
        })?;
        let s3 = Arc::new(s3);
        let requests = Requests::new(options, place, endpoint);
        let reader = Arc::new(ObjectReader { store: s3.clone(), requests });
        Ok(Self { s3, reader, prefix: prefix.into() })
    }

    /// Returns how requests to this bucket are made.
    pub(crate) fn requests(&self) -> &Requests {
        &self.reader.requests
    }

    /// Returns the key of the object `name`.
    pub(crate) fn path(&self, name: &str) -> Result<Path> {
        let key =
            if self.prefix.is_empty() { name.into() } else { format!("{}/{name}", self.prefix) };
        Path::parse(&key).map_err(|error| {
            Error::new(ErrorKind::Usage, format!("{key:?} cannot be a key: {error}"))
        })
    }

    /// Creates the object `name`, unless it exists.
    pub(crate) async fn put_new(&self, name: &str, bytes: Bytes) -> Result<Created> {
        let path = self.path(name)?;
        let put = || {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            self.s3.put_opts(&path, PutPayload::from(bytes.clone()), options)
        };
        match self.requests().attempt(put).await {
            Ok(_) => Ok(Created::New),
            // An earlier attempt of this call may have created it, and its answer was lost.
            Err(FailedRequest { fault: Fault::Exists, may_be_done: true, .. }) => {
                let found = self.reader.start(name, &path, bytes.len() as u64 + 1).await?;
                let is_ours = found.is_some_and(|(found, _)| found == bytes);
                Ok(if is_ours { Created::New } else { Created::Existed })
            }
            Err(FailedRequest { fault: Fault::Exists, .. }) => Ok(Created::Existed),
            Err(failed) => Err(self.requests().error(&format!("write {name}"), failed)),
        }
    }

    /// Creates or replaces the object `name`.
    pub(crate) async fn put_over(&self, name: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(name)?;
        let put = || self.s3.put(&path, PutPayload::from(bytes.clone()));
        self.requests().make(&format!("write {name}"), put).await.map(drop)
    }

    /// Returns the length of the object `name`; `None` if it does not exist.
    pub(crate) async fn length(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path(name)?;
        let request = || async {
            match self.s3.head(&path).await {
                Ok(meta) => Ok(meta.size),
                // The answer to HEAD has no body, which says what the status means.
                Err(error) if says_nothing(&error) => self.length_by_get(&path).await,
                Err(error) => Err(error),
            }
        };
        self.requests().find(&format!("read {name}"), request).await
    }

    /// Returns the length of an object by reading its first byte.
    async fn length_by_get(&self, path: &Path) -> object_store::Result<u64> {
        let range = Some(GetRange::Bounded(0..1));
        match self.s3.get_opts(path, GetOptions { range, ..GetOptions::default() }).await {
            Ok(found) => Ok(found.meta.size),
            Err(error) if Fault::of(&error) == Fault::BeyondEnd => Ok(0),
            Err(error) => Err(error),
        }
    }
}
