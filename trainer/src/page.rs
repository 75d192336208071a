//! Self-contained HTML pages: one file that loads nothing, neither script nor style nor font nor picture,
//! from anywhere else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = "\
:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;color:#1c2126;background:#fff;max-width:72rem;margin:2rem auto;padding:0 1.2rem}
h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid #d6dbe0}
p.lead{color:#4a545e;margin-top:0}
p.caution{border-left:4px solid #d55e00;background:#fdf3ec;padding:.6rem .9rem}
table{border-collapse:collapse;margin:.6rem 0 1rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .7rem;border-bottom:1px solid #e3e7ea;text-align:right}
td{white-space:pre-line;vertical-align:top}th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid #9aa4ad;vertical-align:bottom}
.figures{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:0;max-width:100%}figure svg,figure img{max-width:100%;height:auto}
figcaption{font-size:.86rem;color:#4a545e}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(9rem,1fr));gap:.6rem}
.sheet img{width:100%;background:#000}
footer{margin:3rem 0 1rem;color:#4a545e;font-size:.86rem}
@media print{body{max-width:none;margin:0}h2{break-after:avoid}figure,table{break-inside:avoid}}";

/// A whole page.
pub fn page(title: &str, lead: &str, body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p.lead { (lead) }
                (body)
                footer { "Made by trainer " (env!("CARGO_PKG_VERSION")) ". Decision support only; not for diagnosis." }
            }
        }
    };
    markup.into_string()
}

/// A chart with words below it. `svg` is one of this program's own charts.
pub fn chart(svg: &str, caption: &str) -> Markup {
    html! { figure { (PreEscaped(svg)) figcaption { (caption) } } }
}

/// A PNG picture with words below it.
pub fn picture(png: &[u8], caption: &str) -> Markup {
    let source = format!("data:image/png;base64,{}", STANDARD.encode(png));
    html! { figure { img src=(source) alt=(caption) loading="lazy"; figcaption { (caption) } } }
}

/// A table: its head, then rows of as many cells.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        table {
            thead { tr { @for cell in head { th scope="col" { (cell) } } } }
            tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_loads_nothing_and_escapes_what_it_is_given() {
        let body = html! {
            (table(&["a", "b"], &[vec!["<script>".into(), "1".into()]]))
            (picture(&[1, 2, 3], "a picture"))
        };
        let page = page("Title & more", "lead", &body);
        assert!(page.starts_with("<!DOCTYPE html>"));
        assert!(page.contains("Title &amp; more") && page.contains("&lt;script&gt;"));
        for outside in ["http://", "https://", "src=\"/", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("data:image/png;base64,AQID"));
    }
}
