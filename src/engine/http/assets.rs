//! Static files, from inside the binary. Their address holds a hash of all of them, so that a browser keeps them for
//! ever and never mixes two releases.

use std::sync::OnceLock;

use actix_web::http::header;
use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

use super::{Refusal, problem, request_id};
use crate::base::Error;

#[derive(RustEmbed)]
#[folder = "static/"]
#[allow_missing = true]
struct Files;

static PREFIX: OnceLock<String> = OnceLock::new();

/// Where the files are served: `/static/<hash>`.
pub fn prefix() -> String {
    PREFIX
        .get_or_init(|| {
            let mut names: Vec<_> = Files::iter().collect();
            names.sort();
            let mut hasher = blake3::Hasher::new();
            for name in names {
                let content = Files::get(&name).map(|f| f.data).unwrap_or_default();
                hasher.update(&(name.len() as u64).to_le_bytes());
                hasher.update(name.as_bytes());
                hasher.update(&(content.len() as u64).to_le_bytes());
                hasher.update(&content);
            }
            format!("/static/{}", &hasher.finalize().to_hex()[..16])
        })
        .clone()
}

/// Adds the route of the files.
pub fn configure(app: &mut web::ServiceConfig) {
    app.route("/static/{hash}/{path:.*}", web::get().to(serve));
    app.route("/static/{hash}/{path:.*}", web::head().to(serve));
}

async fn serve(request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let (hash, name) = path.into_inner();
    let Some(file) = Files::get(&name) else {
        let refusal = Refusal::from(Error::not_found("file", name.chars().take(80).collect::<String>()));
        return problem(&refusal, &request_id(&request));
    };
    let current = prefix().strip_prefix("/static/") == Some(&hash);
    let keep = if current { "public, max-age=31536000, immutable" } else { "no-store" };
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type(&name)))
        .insert_header((header::CACHE_CONTROL, keep))
        .body(file.data.into_owned())
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "html" => "text/html; charset=utf-8",
        "txt" | "md" | "" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_holds_a_hash_and_types_are_known() {
        let prefix = prefix();
        assert_eq!(prefix.len(), "/static/".len() + 16);
        assert_eq!(prefix, super::prefix());
        assert_eq!(media_type("fonts/a.woff2"), "font/woff2");
        assert_eq!(media_type("muster.css"), "text/css; charset=utf-8");
        assert_eq!(media_type("LICENSE"), "application/octet-stream");
    }
}
