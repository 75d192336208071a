//! Who may ask. At the local door: this machine, under a loopback name. At the network's door: whoever shows the token,
//! under a name of the station. At either, changes come only from the page itself.

use std::sync::Arc;

use axum::extract::{Query, Request, State as Shared};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
const COOKIE: &str = "ulna";
/// A phone stays let in for this long.
const COOKIE_MAX_AGE_S: u32 = 180 * 86_400;

/// The rules of a door.
#[derive(Clone, Debug)]
pub(super) enum Rules {
    /// Loopback: anybody on this machine.
    Local,
    /// The network: under these authorities (host and port), with this token.
    Network(Arc<Network>),
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) authorities: Vec<String>,
    pub(super) token: String,
}

/// Lets a request through when it may pass, and puts the security headers on every answer.
pub(super) async fn check(Shared(rules): Shared<Rules>, request: Request, next: Next) -> Response {
    let mut response = match rules.judge(request.method(), request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[derive(Deserialize)]
pub(super) struct Enter {
    token: String,
}

/// Puts the token into a cookie and leads to the page.
pub(super) async fn enter(Shared(rules): Shared<Rules>, Query(Enter { token }): Query<Enter>) -> Response {
    match &rules {
        Rules::Network(network) if same(&network.token, &token) => {
            let cookie = format!(
                "{COOKIE}={token}; Path=/; Max-Age={COOKIE_MAX_AGE_S}; HttpOnly; Secure; SameSite=Strict"
            );
            // A page rather than a redirect: a strict cookie is not sent along when a scanned link is followed.
            let page = "<!doctype html><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0; url=/\"><title>Ulna</title>";
            let headers =
                [(header::SET_COOKIE, cookie), (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned())];
            (headers, page).into_response()
        }
        Rules::Network(_) => {
            (StatusCode::UNAUTHORIZED, "this code is no longer valid; scan the new one\n").into_response()
        }
        Rules::Local => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Rules {
    /// A name from outside that resolves to this machine opens nothing. A change must come from this very page; a
    /// program without an origin (such as curl) is no page.
    fn judge(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), (StatusCode, &'static str)> {
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
        let host = text(header::HOST).unwrap_or_default();
        let (known, scheme, remedy) = match self {
            Self::Local => {
                (is_loopback(host), "http://", "open this page as http://localhost or http://127.0.0.1")
            }
            Self::Network(network) => (
                network.authorities.iter().any(|known| known.eq_ignore_ascii_case(host)),
                "https://",
                "this is not a name of the station; add it to web.lan.hosts",
            ),
        };
        if !known {
            return Err((StatusCode::FORBIDDEN, remedy));
        }
        let safe = *method == Method::GET || *method == Method::HEAD;
        let own_page = text(header::ORIGIN).is_none_or(|origin| origin.strip_prefix(scheme) == Some(host));
        if !safe && !own_page {
            return Err((StatusCode::FORBIDDEN, "changes come only from the station's own page"));
        }
        match self {
            Self::Network(network) if path != "/enter" && !shows_token(headers, &network.token) => Err((
                StatusCode::UNAUTHORIZED,
                "scan the code that `edge web link` shows on the station to open this page",
            )),
            _ => Ok(()),
        }
    }
}

fn shows_token(headers: &HeaderMap, token: &str) -> bool {
    let texts =
        |name| headers.get_all(name).into_iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    let cookies = texts(header::COOKIE).flat_map(|text| text.split(';'));
    let mut shown = cookies
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
        .chain(texts(header::AUTHORIZATION).filter_map(|text| text.strip_prefix("Bearer ")));
    shown.any(|given| same(token, given))
}

/// Compares in a time that does not depend on where two texts differ.
fn same(token: &str, given: &str) -> bool {
    let tag = |text: &str| {
        let mut key = [0u8; 64];
        key.iter_mut().zip(token.bytes()).for_each(|(to, from)| *to = from);
        let mut mac = Hmac::<Sha256>::new(&key.into());
        mac.update(text.as_bytes());
        mac
    };
    let expected = tag(token).finalize().into_bytes();
    tag(given).verify_slice(&expected).is_ok()
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Rules = Rules::Local;

    fn judged(rules: &Rules, method: Method, path: &str, given: &[(HeaderName, &'static str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(name, HeaderValue::from_static(value));
        }
        rules.judge(&method, path, &headers).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    fn passes(method: Method, host: Option<&'static str>, origin: Option<&'static str>) -> bool {
        let given: Vec<_> = [(header::HOST, host), (header::ORIGIN, origin)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        judged(&LOCAL, method, "/", &given) == 200
    }

    #[test]
    fn only_loopback_names_are_answered() {
        for host in ["localhost", "localhost:8460", "127.0.0.1:8460", "[::1]:8460", "[::1]"] {
            assert!(passes(Method::GET, Some(host), None), "{host}");
        }
        for host in ["clinic.example", "localhost.example:8460", "127.0.0.1.example", "[::2]:80", "", "::1"] {
            assert!(!passes(Method::GET, Some(host), None), "{host}");
        }
        assert!(!passes(Method::GET, None, None));
    }

    #[test]
    fn only_the_page_itself_may_change_something() {
        let host = Some("localhost:8460");
        assert!(passes(Method::POST, host, Some("http://localhost:8460")));
        assert!(passes(Method::POST, host, None));
        for origin in ["http://localhost:9000", "https://localhost:8460", "http://evil.example", "null"] {
            assert!(!passes(Method::POST, host, Some(origin)), "{origin}");
        }
        assert!(!passes(Method::DELETE, host, Some("null")));
    }

    #[test]
    fn the_network_shows_a_name_of_the_station_and_the_token() {
        let token = "ab".repeat(32);
        let network = Network { authorities: vec!["192.168.1.20:8461".to_owned()], token };
        let rules = Rules::Network(Arc::new(network));
        let host = (header::HOST, "192.168.1.20:8461");
        let right = "x=1; ulna=abababababababababababababababababababababababababababababababab";
        let wrong = "ulna=abababababababababababababababababababababababababababababababaa";
        let get = |given: &[_]| judged(&rules, Method::GET, "/", given);
        assert_eq!(get(&[host.clone(), (header::COOKIE, right)]), 200);
        assert_eq!(get(&[host.clone(), (header::COOKIE, wrong)]), 401);
        assert_eq!(get(std::slice::from_ref(&host)), 401);
        assert_eq!(get(&[(header::HOST, "evil.example:8461"), (header::COOKIE, right)]), 403);
        assert_eq!(get(&[(header::HOST, "localhost:8461"), (header::COOKIE, right)]), 403);
        assert_eq!(judged(&rules, Method::GET, "/enter", std::slice::from_ref(&host)), 200);
        let post = |origin| {
            let given = [host.clone(), (header::COOKIE, right), (header::ORIGIN, origin)];
            judged(&rules, Method::POST, "/", &given)
        };
        assert_eq!(post("https://192.168.1.20:8461"), 200);
        assert_eq!(post("http://192.168.1.20:8461"), 403);
        assert_eq!(post("https://evil.example"), 403);
    }
}
