//! Certificates to trust instead of the system's.

use std::path::Path;

use reqwest::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::reader::Reader;
use super::value::Form;

const FILE: &str = "SSL_CERT_FILE";
const DIRECTORIES: &str = "SSL_CERT_DIR";

impl Reader<'_> {
    /// `None` lets the TLS library find the system's certificates. The variables are read here because the library
    /// takes an empty one as a file name, and says of a file without certificates only that there are none.
    pub(super) fn certificates(&mut self) -> Option<Vec<Certificate>> {
        // There, the system decides what to trust.
        if cfg!(any(windows, target_vendor = "apple")) {
            return None;
        }
        let is_there = (self.environment)(FILE).is_some();
        let file = self.variable_of(FILE, Form::Plain);
        let mut found = match &file {
            Some(file) => match in_file(Path::new(file.trim())) {
                Ok(found) => found,
                Err(problem) => {
                    self.wrong(FILE, format!("names {}, {problem}", file.trim()));
                    return None;
                }
            },
            None if is_there => Vec::new(),
            None => return None,
        };
        let directories = (self.environment)(DIRECTORIES).unwrap_or_default();
        for directory in std::env::split_paths(&directories).filter(|path| !path.as_os_str().is_empty()) {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            found.extend(entries.filter_map(|entry| in_file(&entry.path()).ok()).flatten());
        }
        if found.is_empty() && file.is_none() {
            found = openssl_probe::probe().cert_file.and_then(|file| in_file(&file).ok()).unwrap_or_default();
        }
        Some(found).filter(|found| !found.is_empty())
    }
}

/// The trustworthy certificates in a PEM file, or why there are none.
fn in_file(path: &Path) -> Result<Vec<Certificate>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("which cannot be read: {error}"))?;
    // Bundles may contain certificates that cannot be parsed.
    let found: Vec<Certificate> =
        CertificateDer::pem_slice_iter(&bytes).flatten().filter_map(|der| usable(&der)).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let is_in = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    Err(match &bytes[..] {
        [] => "which is empty".into(),
        [0xef, 0xbb, 0xbf, ..] => {
            "in which no certificate is found, as it begins with a byte order mark: save it without one".into()
        }
        bytes if usable(&CertificateDer::from(bytes)).is_some() => format!(
            "which holds a certificate in DER, where PEM is needed: openssl x509 -inform der -in {} -out ca.pem",
            path.display()
        ),
        _ if is_in("-----BEGIN TRUSTED CERTIFICATE-----") => format!(
            "which holds a TRUSTED CERTIFICATE, a form of OpenSSL's own: openssl x509 -in {} -out ca.pem",
            path.display()
        ),
        _ if is_in("-----BEGIN CERTIFICATE-----") => "in which no certificate can be read: it is damaged".into(),
        _ => "in which there is no certificate: PEM is needed, with a line -----BEGIN CERTIFICATE-----".into(),
    })
}

fn usable(der: &CertificateDer<'_>) -> Option<Certificate> {
    RootCertStore::empty().add(der.clone().into_owned()).ok()?;
    Certificate::from_der(der).ok()
}

#[cfg(not(any(windows, target_vendor = "apple")))]
#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    /// ISRG Root X2, as published by Let's Encrypt.
    const PEM: &str = "-----BEGIN CERTIFICATE-----
MIICGzCCAaGgAwIBAgIQQdKd0XLq7qeAwSxs6S+HUjAKBggqhkjOPQQDAzBPMQsw
CQYDVQQGEwJVUzEpMCcGA1UEChMgSW50ZXJuZXQgU2VjdXJpdHkgUmVzZWFyY2gg
R3JvdXAxFTATBgNVBAMTDElTUkcgUm9vdCBYMjAeFw0yMDA5MDQwMDAwMDBaFw00
MDA5MTcxNjAwMDBaME8xCzAJBgNVBAYTAlVTMSkwJwYDVQQKEyBJbnRlcm5ldCBT
ZWN1cml0eSBSZXNlYXJjaCBHcm91cDEVMBMGA1UEAxMMSVNSRyBSb290IFgyMHYw
EAYHKoZIzj0CAQYFK4EEACIDYgAEzZvVn4CDCuwJSvMWSj5cz3es3mcFDR0HttwW
+1qLFNvicWDEukWVEYmO6gbf9yoWHKS5xcUy4APgHoIYOIvXRdgKam7mAHf7AlF9
ItgKbppbd9/w+kHsOdx1ymgHDB/qo0IwQDAOBgNVHQ8BAf8EBAMCAQYwDwYDVR0T
AQH/BAUwAwEB/zAdBgNVHQ4EFgQUfEKWrt5LSDv6kviejM9ti6lyN5UwCgYIKoZI
zj0EAwMDaAAwZQIwe3lORlCEwkSHRhtFcP9Ymd70/aTSVaYgLXTWNLxBo1BfASdW
tL4ndQavEi51mI38AjEAi/V3bNTIZargCyzuFJ0nN6T5U6VR5CmD1/iQMVtCnwr1
/q4AaOeMSQ+2b1tbFfLn
-----END CERTIFICATE-----
";

    fn der() -> Vec<u8> {
        let base64: String = PEM.lines().filter(|line| !line.starts_with('-')).collect();
        base64::engine::general_purpose::STANDARD.decode(base64).unwrap()
    }

    fn of_file(content: &[u8], end_of_path: &str) -> Result<Option<usize>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, content).unwrap();
        let value = format!("{}{end_of_path}", path.display());
        let found = read(&Settings::default(), &[(FILE, &value)], Reader::certificates);
        found.map(|found| found.map(|found| found.len())).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_set_is_left_to_the_system() {
        assert_eq!(read(&Settings::default(), &[], Reader::certificates).unwrap().map(|found| found.len()), None);
    }

    #[test]
    fn the_certificates_of_the_file_are_read_whatever_is_between_them() {
        let two = format!("# one\r\n{}\nand another\n{PEM}", PEM.replace('\n', "\r\n"));
        assert_eq!(of_file(two.as_bytes(), ""), Ok(Some(2)));
        for end in ["\n", "\r\n", " "] {
            assert_eq!(of_file(PEM.as_bytes(), end), Ok(Some(1)), "a path that ends in {end:?}");
        }
        let broken = format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{PEM}");
        assert_eq!(of_file(broken.as_bytes(), ""), Ok(Some(1)));
    }

    #[test]
    fn a_file_that_gives_none_is_named_with_the_reason() {
        let trusted = PEM.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
        let key = PEM.replace("CERTIFICATE", "PRIVATE KEY");
        let cases: [(&[u8], &str); 7] = [
            (b"", "which is empty"),
            (&[b"\xef\xbb\xbf", PEM.as_bytes()].concat(), "byte order mark"),
            (&der(), "in DER"),
            (trusted.as_bytes(), "TRUSTED CERTIFICATE"),
            (key.as_bytes(), "there is no certificate"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
            (b"<html>", "there is no certificate"),
        ];
        for (content, said) in cases {
            let error = of_file(content, "").unwrap_err();
            assert!(error.starts_with("SSL_CERT_FILE names /") && error.contains("ca.pem, "), "{error}");
            assert!(error.contains(said), "{error}");
        }
        let missing = read(&Settings::default(), &[(FILE, "/nowhere/ca.pem")], Reader::certificates).unwrap_err();
        assert!(missing.to_string().starts_with("SSL_CERT_FILE names /nowhere/ca.pem, which cannot be read: "));
    }
}
