//! Properties in, what they ask for or the mistakes out.

use expect_test::{Expect, expect};

use super::*;

fn parse(text: &str) -> Result<Settings, Vec<Mistake>> {
    let pairs = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pair =
        |line: &str| line.split_once('=').map(|(name, value)| (name.trim().into(), value.trim().into()));
    Settings::parse(&pairs.filter_map(pair).collect())
}

/// What was understood, without a secret in it.
fn show(settings: &Settings) -> String {
    let source = |source: &Source| match source {
        Source::Location(_, shown) => shown.clone(),
        Source::Text(text) => format!("{} characters", text.len()),
    };
    let mut out = settings.protocol.name().to_owned();
    if let Some(tls) = &settings.tls {
        let roots = tls.roots.as_ref().map_or("the system's".into(), source);
        out += &format!("; roots {roots}; checks {:?}", tls.check);
        if let Some((certificate, key)) = &tls.identity {
            out += &format!("; we are {} with {}", source(certificate), source(key));
        }
    }
    match &settings.sasl {
        None => {}
        Some(Sasl::Plain { username, .. }) => out += &format!("; PLAIN {username}"),
        Some(Sasl::Scram { hash, username, .. }) => out += &format!("; {} {username}", hash.mechanism()),
        Some(Sasl::Token(token)) => {
            let (url, id, scope) = (&token.url, &token.client_id, token.scope.as_deref().unwrap_or("-"));
            out += &format!("; token from {url} for {id}, scope {scope}, extensions {:?}", token.extensions);
        }
    }
    out
}

fn check(text: &str, expected: &Expect) {
    let told = match parse(text) {
        Ok(settings) => show(&settings),
        Err(mistakes) => {
            let line = |mistake: &Mistake| format!("{}: {mistake}", mistake.property);
            mistakes.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    };
    expected.assert_eq(&told);
}

#[test]
fn each_protocol_is_read_with_the_defaults_of_librdkafka() {
    check("", &expect!["PLAINTEXT"]);
    check("security.protocol = plaintext", &expect!["PLAINTEXT"]);
    check("security.protocol = ssl", &expect!["SSL; roots the system's; checks Name"]);
    check(
        "security.protocol = SSL
        ssl.ca.location = probe
        ssl.endpoint.identification.algorithm = none
        ssl.certificate.location = c.pem
        ssl.key.pem = abc",
        &expect!["SSL; roots the system's; checks Chain; we are c.pem with 3 characters"],
    );
    check(
        "security.protocol = SASL_SSL
        ssl.ca.location = ca.pem
        enable.ssl.certificate.verification = false
        sasl.mechanisms = PLAIN
        sasl.username = ann
        sasl.password = secret",
        &expect!["SASL_SSL; roots ca.pem; checks Nothing; PLAIN ann"],
    );
    check(
        "security.protocol = sasl_plaintext
        sasl.mechanism = scram-sha-512
        sasl.mechanisms = scram-sha-512
        sasl.username = ann
        sasl.password = secret",
        &expect!["SASL_PLAINTEXT; SCRAM-SHA-512 ann"],
    );
    check(
        "security.protocol = SASL_SSL
        sasl.mechanism = OAUTHBEARER
        sasl.oauthbearer.method = oidc
        sasl.oauthbearer.token.endpoint.url = https://id.example.org/token
        sasl.oauthbearer.client.id = windrow
        sasl.oauthbearer.client.credentials.client.secret = secret
        sasl.oauthbearer.scope = kafka
        sasl.oauthbearer.extensions = logicalCluster=lkc-1, identityPoolId=pool-1",
        &expect![[
            r#"SASL_SSL; roots the system's; checks Name; token from https://id.example.org/token for windrow, scope kafka, extensions [("logicalCluster", "lkc-1"), ("identityPoolId", "pool-1")]"#
        ]],
    );
}

#[test]
fn mistakes_are_told_all_at_once_by_property_and_without_a_value() {
    check(
        "security.protocol = TLS",
        &expect!["security.protocol: `security.protocol` must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"],
    );
    check(
        "sasl.username = ann\nssl.ca.location = ca.pem",
        &expect![[r#"
        sasl.username: `sasl.username` needs security.protocol SASL_SSL or SASL_PLAINTEXT, not PLAINTEXT
        ssl.ca.location: `ssl.ca.location` needs security.protocol SSL or SASL_SSL, not PLAINTEXT"#]],
    );
    check(
        "security.protocol = SASL_SSL",
        &expect![
            "security.protocol: SASL needs `sasl.mechanism` (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are supported)"
        ],
    );
    check(
        "security.protocol = SASL_SSL\nsasl.mechanism = GSSAPI\nsasl.kerberos.keytab = k",
        &expect![[r#"
        sasl.kerberos.keytab: `sasl.kerberos.keytab` is not supported (Kerberos is not supported: take SCRAM-SHA-512, PLAIN over TLS, OAUTHBEARER or client certificates)
        sasl.mechanism: `sasl.mechanism` names a mechanism that is not supported (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are supported)"#]],
    );
    check(
        "security.protocol = SASL_SSL\nsasl.mechanism = PLAIN\nsasl.mechanisms = SCRAM-SHA-256",
        &expect![[r#"
        sasl.mechanisms: `sasl.mechanisms` and `sasl.mechanism` are one property with two values
        sasl.mechanism: `sasl.mechanism` PLAIN needs `sasl.username`
        sasl.mechanism: `sasl.mechanism` PLAIN needs `sasl.password`"#]],
    );
    check(
        "security.protocol = SASL_SSL
        sasl.mechanism = OAUTHBEARER
        sasl.oauthbearer.method = default
        sasl.oauthbearer.grant.type = password
        sasl.oauthbearer.token.endpoint.url = id.example.org
        sasl.oauthbearer.extensions = auth=1",
        &expect![[r#"
            sasl.oauthbearer.method: `sasl.oauthbearer.method` must be oidc (a token is fetched with client credentials)
            sasl.oauthbearer.grant.type: `sasl.oauthbearer.grant.type` must be client_credentials (a token is fetched with client credentials)
            sasl.oauthbearer.token.endpoint.url: `sasl.oauthbearer.token.endpoint.url` must begin with https:// or http://
            sasl.mechanism: `sasl.mechanism` OAUTHBEARER needs `sasl.oauthbearer.client.id`
            sasl.mechanism: `sasl.mechanism` OAUTHBEARER needs `sasl.oauthbearer.client.secret`
            sasl.oauthbearer.extensions: `sasl.oauthbearer.extensions` must be key=value, several with commas between; keys are letters and not `auth`"#]],
    );
    check(
        "security.protocol = SSL
        ssl.ca.location = ca.pem
        ssl.ca.pem = text
        ssl.certificate.location = c.pem
        ssl.endpoint.identification.algorithm = ftp
        enable.ssl.certificate.verification = perhaps
        ssl.key.password = secret
        ssl.keystore.location = store.p12
        ssl.truststore.location = store.jks
        ssl.cipher.suites = all",
        &expect![[r#"
            ssl.cipher.suites: `ssl.cipher.suites` is not supported (it would drive one half of the connections: leave it out, both halves speak TLS 1.2 and 1.3 with safe suites)
            ssl.key.password: `ssl.key.password` is not supported (encrypted keys are not read: `openssl pkey -in key.pem -out plain.pem` decrypts one, and permissions guard the file)
            ssl.keystore.location: `ssl.keystore.location` is not supported (keystores are not read: give PEM files by `ssl.certificate.location` and `ssl.key.location`; `openssl pkcs12 -in store.p12 -nodes` makes them)
            ssl.truststore.location: `ssl.truststore.location` is not supported (truststores are not read: give a PEM file by `ssl.ca.location`; `keytool -exportcert -rfc` makes one)
            ssl.certificate.location: a client certificate needs its key (give `ssl.key.location`, or leave both out)
            enable.ssl.certificate.verification: `enable.ssl.certificate.verification` must be true or false
            ssl.endpoint.identification.algorithm: `ssl.endpoint.identification.algorithm` must be https or none
            ssl.ca.pem: `ssl.ca.pem` and `ssl.ca.location` exclude each other"#]],
    );
    check(
        "security.protocol = SSL\nssl.key.pem = k\nsasl.jaas.config = secret",
        &expect![[r#"
        sasl.jaas.config: `sasl.jaas.config` is not supported (that is Java's: give `sasl.mechanism`, `sasl.username` and `sasl.password`)
        ssl.key.pem: a client's key needs its certificate (give `ssl.certificate.location`, or leave both out)"#]],
    );
}

#[test]
fn an_empty_value_counts_as_none() {
    check(
        "security.protocol =
        sasl.username =
        ssl.ca.location =",
        &expect!["PLAINTEXT"],
    );
}
