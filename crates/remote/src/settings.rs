//! The settings of S3: variables of the environment, and the profiles of Amazon's own tools.
//!
//! Every value is checked before a library sees it, so that an error names the variable. An empty
//! variable counts as one that is not set, as for Amazon's tools: many CI systems set what they do
//! not have to the empty string. No error shows a value, since it may be a secret.

use freestone_core::{Error, ErrorKind, Result};
use ini::{Ini, ParseOption};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use url::Url;

/// The longest file of profiles that is read.
const PROFILES_BYTES_MAX: u64 = 1 << 20;
/// The variables that name a server. Each must be a URL.
const ENDPOINTS: [&str; 6] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_METADATA_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];
/// The variables that are read although they are not settings of the library.
const OWN: [&str; 4] = ["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME"];
/// The keys of a profile that are settings, each with the variable that it stands for.
const PROFILE_KEYS: [(&str, &str); 5] = [
    ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("aws_session_token", "AWS_SESSION_TOKEN"),
    ("region", "AWS_REGION"),
    ("endpoint_url", "AWS_ENDPOINT_URL"),
];
/// The keys with which a profile says that its credentials come from elsewhere.
const INDIRECT_KEYS: [&str; 5] =
    ["credential_process", "role_arn", "sso_session", "sso_start_url", "web_identity_token_file"];

/// The settings, each by the variable that it comes from or stands for.
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Reads the settings from `variables`, or from this process's environment if there are none,
    /// and from the files of profiles that they name.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a value is invalid, or the profile that is asked for does not exist.
    pub(crate) fn read(variables: Option<&[(String, String)]>) -> Result<Self> {
        let mut values = BTreeMap::new();
        match variables {
            Some(variables) => {
                for (name, value) in variables {
                    insert(&mut values, name, value)?;
                }
            }
            None => {
                for (name, value) in std::env::vars_os() {
                    let Some(name) = name.to_str().filter(|name| is_setting(name)) else {
                        continue;
                    };
                    let value = value.to_str().ok_or_else(|| wrong(name, "is not UTF-8"))?;
                    insert(&mut values, name, value)?;
                }
            }
        }
        let mut settings = Self(values);
        settings.add_profile()?;
        settings.check()?;
        Ok(settings)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the server's URL, if it is not Amazon's.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .iter()
            .find_map(|name| self.get(name))
    }

    /// Applies the settings to `builder`.
    pub(crate) fn apply(&self, mut builder: AmazonS3Builder) -> AmazonS3Builder {
        for (name, value) in &self.0 {
            if let Some(key) = config_key(name) {
                builder = builder.with_config(key, value);
            }
        }
        match self.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        }
    }

    /// Fills in what the profile has and no variable says. The profile is `AWS_PROFILE`, or
    /// `default` if that exists. Credentials of variables are never mixed with those of a profile.
    fn add_profile(&mut self) -> Result<()> {
        let named = self.get("AWS_PROFILE").map(ToOwned::to_owned);
        let has_credentials = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
            .iter()
            .any(|name| self.get(name).is_some());
        let is_unsigned = self.get("AWS_SKIP_SIGNATURE").is_some_and(is_true);
        let is_indirect = named.is_none() && self.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
        let profile = named.clone().unwrap_or_else(|| "default".into());
        let Some(found) = self.profile(&profile)? else {
            return match named {
                Some(name) if !has_credentials => Err(Error::new(
                    ErrorKind::Usage,
                    format!("AWS_PROFILE: there is no profile {name:?}"),
                )
                .hint("it must be in ~/.aws/credentials or ~/.aws/config")),
                _ => Ok(()),
            };
        };
        let takes_credentials = !has_credentials && !is_unsigned && !is_indirect;
        let has_keys = found.contains_key("aws_access_key_id");
        let indirect = INDIRECT_KEYS.iter().find(|key| found.contains_key(**key));
        if let Some(key) = indirect.filter(|_| takes_credentials && !has_keys && named.is_some()) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("AWS_PROFILE: the credentials of profile {profile:?} come by {key}, which freestone does not do"),
            )
            .hint("let Amazon's own tool do it: eval \"$(aws configure export-credentials --format env)\""));
        }
        for (key, variable) in PROFILE_KEYS {
            let is_credential = key.starts_with("aws_");
            let Some(value) = found.get(key) else { continue };
            let has_region = key == "region" && self.get("AWS_DEFAULT_REGION").is_some();
            let has_endpoint = key == "endpoint_url" && self.endpoint().is_some();
            if (is_credential && !takes_credentials) || has_region || has_endpoint {
                continue;
            }
            if !self.0.contains_key(variable) {
                insert(&mut self.0, variable, value)
                    .map_err(|error| error.context(format!("profile {profile:?}, {key}")))?;
            }
        }
        Ok(())
    }

    /// Reads the profile `name` from both files; what the credentials file says counts first.
    fn profile(&self, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let home = self.get("HOME").map(|home| Path::new(home).join(".aws"));
        let file = |variable: &str, fallback: &str| -> Option<PathBuf> {
            let named = self.get(variable).map(PathBuf::from);
            named.or_else(|| Some(home.as_ref()?.join(fallback)))
        };
        let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let mut found: Option<BTreeMap<String, String>> = None;
        for (path, section) in [
            (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), name),
            (file("AWS_CONFIG_FILE", "config"), &in_config),
        ] {
            let Some(path) = path else { continue };
            let Some(ini) = read_profiles(&path)? else { continue };
            let Some(section) = ini.section(Some(section)) else { continue };
            let found = found.get_or_insert_default();
            for (key, value) in section {
                found.entry(key.to_ascii_lowercase()).or_insert_with(|| value.trim().to_owned());
            }
        }
        Ok(found)
    }

    /// Checks what a library would only find out while it makes a request.
    fn check(&self) -> Result<()> {
        for name in ENDPOINTS {
            if let Some(value) = self.get(name) {
                check_endpoint(name, value)?;
            }
        }
        let pair = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        if let [Some(_), None] | [None, Some(_)] = pair.map(|name| self.get(name)) {
            let (set, unset) = match self.get(pair[0]) {
                Some(_) => (pair[0], pair[1]),
                None => (pair[1], pair[0]),
            };
            return Err(Error::new(ErrorKind::Usage, format!("{set} is set, and {unset} is not"))
                .hint(format!(
                    "set {unset}, too; an empty variable counts as one that is not set"
                )));
        }
        // The library says what is wrong, but not with which variable.
        for (name, value) in &self.0 {
            let Some(key) = config_key(name) else { continue };
            if !takes_no_text(key) {
                continue;
            }
            let tried = AmazonS3Builder::new()
                // A name that directory buckets have, which AWS_S3_EXPRESS needs.
                .with_bucket_name("bucket--usw2-az1--x-s3")
                .with_access_key_id("key")
                .with_secret_access_key("secret")
                .with_http_connector(crate::client::NoConnector)
                .with_config(key, value)
                .build();
            if tried.is_err() {
                return Err(wrong(name, "has a value that is not one of those it can have"));
            }
        }
        Ok(())
    }
}

/// Returns true if `name` is a variable that is read.
fn is_setting(name: &str) -> bool {
    OWN.contains(&name) || (name.starts_with("AWS_") && config_key(name).is_some())
}

/// Returns the library's key of a variable.
fn config_key(name: &str) -> Option<AmazonS3ConfigKey> {
    if !name.starts_with("AWS_") {
        return None;
    }
    name.to_ascii_lowercase().parse().ok()
}

/// Returns true if the library parses the value of `key`, and does not take it as text.
fn takes_no_text(key: AmazonS3ConfigKey) -> bool {
    use AmazonS3ConfigKey as Key;
    matches!(
        key,
        Key::VirtualHostedStyleRequest
            | Key::S3Express
            | Key::ImdsV1Fallback
            | Key::UnsignedPayload
            | Key::Checksum
            | Key::SkipSignature
            | Key::CopyIfNotExists
            | Key::ConditionalPut
            | Key::DisableTagging
            | Key::DisableBulkDelete
            | Key::RequestPayer
    )
}

/// Returns true if the library reads `value` as true.
fn is_true(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// Adds a value, unless it is empty.
///
/// # Errors
/// [`ErrorKind::Usage`] if it cannot be part of a request.
fn insert(values: &mut BTreeMap<String, String>, name: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Ok(());
    }
    if value.ends_with(['\n', '\r']) {
        return Err(wrong(name, "ends with a newline").hint(
            "remove the newline; `printf %s` writes none, and `base64 -d` keeps what was encoded",
        ));
    }
    if value.trim() != value {
        return Err(wrong(name, "begins or ends with white space"));
    }
    if value.chars().any(char::is_control) {
        return Err(wrong(name, "has a control character, such as a newline"));
    }
    values.insert(name.into(), value.into());
    Ok(())
}

fn wrong(name: &str, what: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("the variable {name} {what}"))
}

/// Checks that `value` is the URL of a server.
fn check_endpoint(name: &str, value: &str) -> Result<()> {
    let refused = |what: &str| {
        Err(wrong(name, what).hint(
            "write it as https://HOST or http://HOST:PORT, for example http://127.0.0.1:9000",
        ))
    };
    if !value.starts_with("http://") && !value.starts_with("https://") {
        return refused("does not begin with http:// or https://");
    }
    let Ok(url) = Url::parse(value) else {
        return refused("is not a URL: its host or its port is invalid");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refused("has a user or a password: credentials have variables of their own");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refused("has a ? or #, which the URL of a server does not have");
    }
    if url.port() == Some(0) || !url.has_host() || value.contains(char::is_whitespace) {
        return refused("is not a URL: its host or its port is invalid");
    }
    Ok(())
}

/// Reads a file of profiles; `None` if it does not exist.
fn read_profiles(path: &Path) -> Result<Option<Ini>> {
    let failed = |error| Error::io(format!("{} cannot be read", path.display()), error);
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.is_file() || metadata.len() > PROFILES_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("{} is not a file of profiles, or is longer than 1 MiB", path.display()),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let options = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        // A nested table, such as that of the key `s3`, is the value of its key.
        enabled_indented_mutiline_value: true,
        ..ParseOption::default()
    };
    // What the parser says may quote the line, which may have a secret.
    Ini::load_from_str_opt(&text, options).map(Some).map_err(|error| {
        Error::new(
            ErrorKind::Usage,
            format!("{}, line {}: not a line of a profile", path.display(), error.line + 1),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        let owned: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Settings::read(Some(&owned))
    }

    fn refused(variables: &[(&str, &str)]) -> String {
        let error = read(variables).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Usage, "{variables:?}");
        error.to_string()
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let names = [
            "AWS_ENDPOINT_URL_S3",
            "AWS_SKIP_SIGNATURE",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
        ];
        let empty: Vec<(&str, &str)> = names.iter().map(|name| (*name, "")).collect();
        assert!(read(&empty).unwrap().0.is_empty());
    }

    #[test]
    fn a_value_that_no_request_can_carry_is_refused_by_its_variable() {
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_REGION",
            "AWS_ENDPOINT_URL",
        ] {
            for value in ["http://s\n", "http://s\r", " http://s", "http://s ", "http://a\nb"] {
                let said = refused(&[(name, value)]);
                assert!(said.contains(name) && !said.contains("://"), "{said}");
            }
        }
    }

    #[test]
    fn a_server_is_a_url() {
        for good in ["http://127.0.0.1:9", "https://s3.example.org", "http://[::1]:80/"] {
            assert_eq!(read(&[("AWS_ENDPOINT_URL", good)]).unwrap().endpoint(), Some(good));
        }
        for bad in [
            "127.0.0.1:9",
            "localhost:9",
            "s3.example.invalid",
            "\"http://127.0.0.1:9\"",
            "s3://127.0.0.1:9",
            "http://",
            "http://host:port",
            "http://host:99999",
            "http://host:0",
            "http://a b",
            "https://user:PASSWORD@host",
            "https://host?token=PASSWORD",
        ] {
            for name in ENDPOINTS {
                let said = refused(&[(name, bad)]);
                assert!(said.contains(name) && !said.contains("PASSWORD"), "{said}");
            }
        }
        let both = [("AWS_ENDPOINT_URL", "http://a"), ("AWS_ENDPOINT_URL_S3", "http://b")];
        assert_eq!(read(&both).unwrap().endpoint(), Some("http://b"));
    }

    #[test]
    fn a_switch_is_true_or_false() {
        for name in ["AWS_SKIP_SIGNATURE", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_S3_EXPRESS"] {
            read(&[(name, "true")]).unwrap();
            read(&[(name, "0")]).unwrap();
            assert!(refused(&[(name, "maybe")]).contains(name));
        }
        assert!(refused(&[("AWS_ACCESS_KEY_ID", "k")]).contains("AWS_SECRET_ACCESS_KEY"));
        assert!(refused(&[("AWS_SECRET_ACCESS_KEY", "k")]).contains("AWS_ACCESS_KEY_ID is not"));
    }

    #[test]
    fn profiles_of_amazons_tools_are_read() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(
            home.path().join(".aws/credentials"),
            "# keys\n[default]\naws_access_key_id = A\naws_secret_access_key=x/y+z==\n\n\
             [ci]\naws_access_key_id = B\naws_secret_access_key = a\\b\"c\n",
        )
        .unwrap();
        std::fs::write(
            home.path().join(".aws/config"),
            "[default]\nregion = eu-central-1\ns3 =\n  addressing_style = path\n\
             [profile ci]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:9\n\
             [profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = ci\n",
        )
        .unwrap();
        let home = home.path().to_str().unwrap();
        let found = read(&[("HOME", home)]).unwrap();
        assert_eq!(found.get("AWS_ACCESS_KEY_ID"), Some("A"));
        assert_eq!(found.get("AWS_SECRET_ACCESS_KEY"), Some("x/y+z=="));
        assert_eq!(found.get("AWS_REGION"), Some("eu-central-1"));
        let found = read(&[("HOME", home), ("AWS_PROFILE", "ci")]).unwrap();
        assert_eq!(found.get("AWS_SECRET_ACCESS_KEY"), Some("a\\b\"c"));
        assert_eq!(found.endpoint(), Some("http://127.0.0.1:9"));
        // Variables count first, and two sets of credentials are never mixed.
        let given = [
            ("HOME", home),
            ("AWS_PROFILE", "ci"),
            ("AWS_ACCESS_KEY_ID", "C"),
            ("AWS_SECRET_ACCESS_KEY", "D"),
            ("AWS_REGION", "r"),
        ];
        let found = read(&given).unwrap();
        assert_eq!(found.get("AWS_SECRET_ACCESS_KEY"), Some("D"));
        assert_eq!(found.get("AWS_REGION"), Some("r"));
        assert!(
            read(&[("HOME", home), ("AWS_SKIP_SIGNATURE", "true")])
                .unwrap()
                .get("AWS_ACCESS_KEY_ID")
                .is_none()
        );
        assert!(refused(&[("HOME", home), ("AWS_PROFILE", "none")]).contains("\"none\""));
        assert!(refused(&[("HOME", home), ("AWS_PROFILE", "role")]).contains("role_arn"));
    }
}
