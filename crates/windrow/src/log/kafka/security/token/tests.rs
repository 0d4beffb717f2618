//! What endpoints answer, and what a broker is shown. A real endpoint, a real broker and tokens that end are in `tests/log_secure`.

use super::*;

fn source() -> Source {
    let settings = TokenSettings {
        url: "http://127.0.0.1:1/token?key=secret".into(),
        client_id: "windrow".into(),
        client_secret: "secret".into(),
        scope: None,
        extensions: vec![("logicalCluster".into(), "lkc-1".into())],
        roots: None,
    };
    Source::new(settings).unwrap()
}

fn answer(text: &str, asked: SystemTime) -> std::result::Result<Token, String> {
    source().token(serde_json::from_str(text).unwrap(), asked)
}

fn jwt(claims: &str) -> String {
    format!("e30.{}.", URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn a_token_lives_as_long_as_the_endpoint_says_or_else_as_it_says_itself() {
    let asked = UNIX_EPOCH + Duration::from_secs(1_000);
    let cases = [
        (r#"{"access_token":"opaque","expires_in":60}"#.to_owned(), 60, "windrow"),
        (r#"{"access_token":"opaque","expires_in":4000000000}"#.to_owned(), LIFE_MAX.as_secs(), "windrow"),
        (format!(r#"{{"access_token":"{}"}}"#, jwt(r#"{"exp":1030,"sub":"ann"}"#)), 30, "ann"),
        (format!(r#"{{"access_token":"{}","expires_in":5}}"#, jwt(r#"{"exp":1030,"sub":"ann"}"#)), 5, "ann"),
    ];
    for (text, life_s, principal) in cases {
        let token = answer(&text, asked).unwrap();
        assert_eq!((token.life.as_secs(), &*token.principal), (life_s, principal), "{text}");
        assert_eq!(token.until, asked + token.life, "{text}");
        assert!(token.fresh_for() < token.life, "{text}");
    }
}

#[test]
fn an_answer_without_a_token_of_use_is_refused_with_the_reason() {
    let cases = [
        (r#"{"expires_in":60}"#.to_owned(), "no access_token"),
        (r#"{"access_token":"","expires_in":60}"#.to_owned(), "not printable"),
        (r#"{"access_token":"a\u0001auth=b","expires_in":60}"#.to_owned(), "not printable"),
        (r#"{"access_token":"opaque"}"#.to_owned(), "expires_in"),
        (r#"{"access_token":"opaque","expires_in":0}"#.to_owned(), "expires_in"),
        (r#"{"access_token":"opaque","expires_in":-5}"#.to_owned(), "expires_in"),
        (format!(r#"{{"access_token":"{}"}}"#, jwt(r#"{"exp":900}"#)), "expires_in"),
    ];
    for (text, why) in cases {
        let told = answer(&text, UNIX_EPOCH + Duration::from_secs(1_000)).err();
        assert!(told.as_ref().is_some_and(|told| told.contains(why)), "{text}: {told:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_away_is_named_without_what_is_nobodys_business() {
    let told = fetch(&Arc::new(source())).await.err().unwrap();
    assert!(told.contains("http://127.0.0.1:1/token:") && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn a_token_is_shown_as_the_rfc_says_until_it_is_over() {
    let token = |life: u64| {
        let text = format!(r#"{{"access_token":"opaque","expires_in":{life}}}"#);
        Arc::new(answer(&text, SystemTime::now() - Duration::from_secs(60)).unwrap())
    };
    let current = Current { number: 1, token: token(600), failure: None };
    let tokens = Tokens { source: Arc::new(source()), current: Mutex::new(current), task: Mutex::new(None) };
    let (number, shown) = tokens.current().unwrap();
    assert_eq!(number, 1);
    let message = "n,,\x01auth=Bearer opaque\x01logicalCluster=lkc-1\x01\x01";
    assert_eq!(tokens.message(&shown), message);
    *tokens.current.lock() = Current { number: 2, token: token(60), failure: Some("503".into()) };
    let told = tokens.current().err();
    assert!(matches!(&told, Some(LogError::Retry(why)) if why.contains("expired: 503")), "{told:?}");
}
