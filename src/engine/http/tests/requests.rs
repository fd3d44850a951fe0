//! Which requests come as far as a route.

use actix_web::dev::ServiceResponse;
use actix_web::test::TestRequest;

use super::*;
use crate::base::limits::REQUESTS_BURST_SECONDS;

/// Sends them one after the other to one application that knows `site.lan` and `::1`.
fn send(per_second: u32, requests: Vec<TestRequest>) -> Vec<(u16, HeaderMap, String)> {
    actix_web::rt::System::new().block_on(async {
        let mut settings = settings("127.0.0.1:0");
        settings.hosts = Hosts::Only(Arc::new(|host| ["site.lan", "::1"].contains(&host)));
        settings.open_paths = &["/open", "/static/"];
        settings.subdomains = true;
        settings.limits.requests_per_address_per_second_max = per_second;
        let app = test::init_service(
            App::new()
                .app_data(web::Data::from(settings.traffic.clone()))
                .app_data(web::Data::new(Gate::new(&settings)))
                .wrap(from_fn(envelope))
                .default_service(web::to(|| async { HttpResponse::Ok().finish() })),
        )
        .await;
        let mut got = Vec::new();
        for request in requests {
            let answer: ServiceResponse<_> = test::call_service(&app, request.to_request()).await;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let body = String::from_utf8(test::read_body(answer).await.to_vec()).unwrap();
            got.push((status, headers, body));
        }
        got
    })
}

#[test]
fn only_our_own_hosts_are_answered() {
    let get = |target: &str| TestRequest::get().uri(target);
    let asked = |host: &str| get("/x").insert_header((header::HOST, host));
    for (number, (request, status)) in [
        (asked("site.lan"), 200),
        (asked("SITE.lan:8443"), 200),
        (asked("site.lan."), 200),
        (asked("[::1]:8443"), 200),
        (asked("evil.example"), 421),
        (asked("site.lan.evil.example"), 421),
        (asked("a@site.lan"), 421),
        (asked("127.0.0.1"), 421),
        (asked(""), 421),
        (get("/x"), 421),
        (asked("evil.example").insert_header(("x-forwarded-host", "site.lan")), 421),
        (asked("evil.example").insert_header(("forwarded", "host=site.lan")), 421),
        (get("https://site.lan/x").insert_header((header::HOST, "site.lan")), 200),
        (get("https://evil.example/x").insert_header((header::HOST, "site.lan")), 400),
        (get("https://site.lan/x").insert_header((header::HOST, "evil.example")), 400),
        (get("https://evil.example/x").insert_header((header::HOST, "evil.example")), 421),
        (get("/open").insert_header((header::HOST, "evil.example")), 200),
        (get("/open/more").insert_header((header::HOST, "evil.example")), 421),
        (get("/static/x/muster.css").insert_header((header::HOST, "evil.example")), 200),
    ]
    .into_iter()
    .enumerate()
    {
        let (got, headers, body) = send(0, vec![request]).remove(0);
        assert_eq!(got, status, "request {number}: {body}");
        assert_eq!(headers.get("strict-transport-security").unwrap(), "max-age=63072000; includeSubDomains");
    }
    let (_, _, body) = send(0, vec![asked("10.0.0.9:8443")]).remove(0);
    assert!(body.contains("reached as `10.0.0.9`") && body.contains("`hosts` in `[site]`"), "{body}");
    let (_, _, body) = send(0, vec![asked("<script>")]).remove(0);
    assert!(!body.contains("<script>"), "{body}");
}

#[test]
fn an_address_that_asks_too_often_waits_and_others_do_not() {
    let from = |peer: &str| {
        TestRequest::get()
            .uri("/x")
            .insert_header((header::HOST, "site.lan"))
            .peer_addr(peer.parse().unwrap())
    };
    let burst = 2 * REQUESTS_BURST_SECONDS;
    let mut requests: Vec<_> = (0..burst).map(|n| from(&format!("10.0.0.1:{}", 1_000 + n))).collect();
    requests.push(from("10.0.0.1:9"));
    requests.push(from("[::ffff:10.0.0.1]:9").insert_header(("x-forwarded-for", "10.0.0.7")));
    requests.push(from("10.0.0.2:9"));
    let got = send(2, requests);
    let statuses: Vec<u16> = got.iter().map(|(status, ..)| *status).collect();
    assert!(statuses[..burst as usize].iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(statuses[burst as usize..], [429, 429, 200]);
    let (_, headers, body) = &got[burst as usize];
    assert_eq!(headers.get("retry-after").unwrap(), "1");
    assert_eq!(headers.get("ratelimit-policy").unwrap(), "\"address\";q=20;w=10");
    assert_eq!(headers.get("ratelimit").unwrap(), "\"address\";r=0;t=1");
    assert!(body.contains("too many requests") && body.contains("wait 1 s"), "{body}");
    assert!(got[0].1.get("ratelimit").is_none(), "pages do not tell");
}
