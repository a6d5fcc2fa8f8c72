//! The policy that a store has for its collections.

use crate::store::Store;
use freestone_backend::{Created, get_decoded};
use freestone_core::{Error, ErrorKind, Result};
use freestone_format::policy::{self, BYTES_MAX, Policy};

impl Store {
    /// Returns the policy of the store, with its number; `None` if it has none.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or of a later version.
    pub fn policy(&self) -> Result<Option<(u64, Policy)>> {
        let listed = self.backend().list("policy")?;
        let newest = listed.iter().filter_map(|listed| policy::of_object(&listed.name)).max();
        let Some(n) = newest else { return Ok(None) };
        let name = policy::object_name(n);
        let read = get_decoded(&**self.backend(), &name, BYTES_MAX, Policy::decode);
        Ok(read.map_err(|error| error.context(&name))?.map(|policy| (n, policy)))
    }

    /// Gives the store a policy, in the place of the one that it has now. Returns its number.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the policy cannot be kept; [`ErrorKind::Conflict`] if another one was
    /// set meanwhile; or the store cannot be written to.
    pub fn set_policy(&self, policy: &Policy) -> Result<u64> {
        if let Some(fault) = policy.fault() {
            return Err(Error::new(ErrorKind::Usage, fault));
        }
        // A policy that is damaged is replaced, too.
        let listed = self.backend().list("policy")?;
        let newest = listed.iter().filter_map(|listed| policy::of_object(&listed.name)).max();
        let n = newest.unwrap_or(0).saturating_add(1);
        match self.backend().create(&policy::object_name(n), policy.encode().as_bytes())? {
            Created::New => Ok(n),
            Created::Existed => {
                Err(Error::new(ErrorKind::Conflict, "another policy was set at the same time")
                    .hint("look at it with `freestone store policy`, and set yours again"))
            }
        }
    }
}
