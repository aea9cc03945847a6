//! s3cmd's configuration for the cloud: it reads no environment but the name of this file.

use super::{Credentials, S3Access};
use karri_proto::runtime::pki::write_secret;
use std::path::Path;

pub fn write(keys: &Credentials, s3: &S3Access) -> std::io::Result<()> {
    write_secret(Path::new(&s3.s3cmd_config), text(keys, s3).as_bytes())
}

fn text(keys: &Credentials, s3: &S3Access) -> String {
    let (scheme, host) = s3.endpoint.split_once("://").unwrap_or(("http", &s3.endpoint));
    let https = if scheme == "https" { "True" } else { "False" };
    format!(
        "# Written by `karri up`. Use: s3cmd -c {} ls (`karri env` sets S3CMD_CONFIG to this file)\n\
         [default]\n\
         access_key = {}\n\
         secret_key = {}\n\
         host_base = {host}\n\
         host_bucket = {host}\n\
         bucket_location = {}\n\
         use_https = {https}\n",
        s3.s3cmd_config, keys.access_key_id, keys.secret_access_key, keys.region,
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn buckets_are_paths_of_the_endpoint() {
        let (keys, s3) = (sample(), sample().s3.unwrap());
        let text = text(&keys, &s3);
        for line in ["host_base = 127.0.0.1:8774", "host_bucket = 127.0.0.1:8774", "use_https = False"] {
            assert!(text.lines().any(|known| known == line), "{text}");
        }
        assert!(text.contains(&format!("secret_key = {}\n", keys.secret_access_key)));
    }
}
