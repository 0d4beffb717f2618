//! Certificates, made for one run: an authority, what it signs, and another authority that nobody trusts.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// Files in one folder: `ca.pem`, `other-ca.pem`, and for each name of a certificate `NAME.pem`, `NAME.key`, and both in `NAME.both`.
pub(crate) fn make(folder: &Path) {
    let ca = authority("Windrow's tests");
    let other = authority("Somebody else");
    fs::write(folder.join("ca.pem"), &ca.1).unwrap();
    fs::write(folder.join("other-ca.pem"), &other.1).unwrap();
    let here = ["localhost", "127.0.0.1"];
    sign(folder, &ca.0, "broker", &here, false);
    sign(folder, &ca.0, "elsewhere", &["broker.example.org"], false);
    sign(folder, &ca.0, "expired", &here, true);
    sign(folder, &ca.0, "client", &["client"], false);
    sign(folder, &other.0, "stranger", &["stranger"], false);
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

fn sign(folder: &Path, issuer: &Issuer<'_, KeyPair>, name: &str, hosts: &[&str], expired: bool) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    if expired {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    }
    let key = KeyPair::generate().unwrap();
    let (certificate, key) = (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem());
    fs::write(folder.join(format!("{name}.both")), format!("{key}\n{certificate}")).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate).unwrap();
    fs::write(folder.join(format!("{name}.key")), key).unwrap();
}
