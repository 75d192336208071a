//! Who may ask: only this machine, under a loopback name, and for changes only the page itself.

use axum::extract::Request;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

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

/// Lets a request through when it may pass, and puts the security headers on every answer.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let mut response = if may_pass(request.method(), request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "open this page as http://localhost or http://127.0.0.1\n").into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The host must be a loopback name, so that a name from outside that resolves to this machine opens nothing.
/// A change must come from this very page; a program without an origin (such as curl) is on this machine.
fn may_pass(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let Some(host) = text(header::HOST).filter(|host| is_loopback(host)) else { return false };
    let safe = *method == Method::GET || *method == Method::HEAD;
    safe || text(header::ORIGIN).is_none_or(|origin| origin.strip_prefix("http://") == Some(host))
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

    fn passes(method: Method, host: Option<&'static str>, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        may_pass(&method, &headers)
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
}
