"""Reports on the web: who may issue and download, and what a stranger learns from a QR code."""

from __future__ import annotations

from io import BytesIO

import pytest
from pypdf import PdfReader

from tests.reports.stored import store_field
from utils.records import Analysis, AuditEntry, ReportVersion, User, db
from utils.workflow import review

PATIENT = "Ελευθερία Παπαδοπούλου"


@pytest.fixture
def field(app, auth) -> str:
    """A field of the person at `auth`, signed in; gives its public identifier."""
    auth.enter()
    return store_field(app, auth.user_id)


def newest(app) -> tuple[str, str]:
    """Identifier and check code of the newest version."""
    with app.app_context():
        version = db.session.scalars(
            db.select(ReportVersion).order_by(ReportVersion.id.desc()).limit(1)
        ).one()
        return version.public_id, version.content_sha256[:16]


def create(auth, field):
    return auth.post(f"/analyses/{field}/report")


def correct(app, auth) -> None:
    with app.app_context():
        analysis = db.session.scalars(db.select(Analysis)).one()
        review.correct(analysis, db.session.get(User, auth.user_id), "Pro", "Because")


def audited(app, action: str) -> int:
    with app.app_context():
        return db.session.scalar(
            db.select(db.func.count()).select_from(AuditEntry).where(AuditEntry.action == action)
        )


def test_create_leads_back_to_the_field(app, auth, field):
    answer = create(auth, field)
    assert answer.status_code == 303
    assert answer.location.endswith(f"/analyses/{field}#report")
    assert audited(app, "report.issue") == 1
    assert create(auth, field).status_code == 303
    assert audited(app, "report.issue") == 1


def test_create_is_a_post_with_a_token(app, auth, field):
    assert auth.client.get(f"/analyses/{field}/report").status_code == 405
    assert auth.client.post(f"/analyses/{field}/report").status_code == 400
    assert audited(app, "report.issue") == 0


@pytest.mark.parametrize(
    ("role", "create_status", "download_status"),
    [
        ("administrator", 303, 200),
        ("pathologist", 303, 200),
        ("technician", 403, 200),
        ("trainee", 404, 404),
    ],
)
def test_another_persons_field(app, auth, field, role, create_status, download_status):
    create(auth, field)
    public_id, _ = newest(app)
    other = auth.as_role(role)
    assert create(other, field).status_code == create_status
    before = audited(app, "report.view")
    assert other.client.get(f"/reports/{public_id}.pdf").status_code == download_status
    assert audited(app, "report.view") - before == (download_status == 200)


def test_stranger_gets_neither_pdf_nor_report(app, auth, field):
    create(auth, field)
    public_id, _ = newest(app)
    stranger = app.test_client()
    answer = stranger.get(f"/reports/{public_id}.pdf")
    assert answer.status_code == 303
    assert "/login" in answer.location


def test_download(app, auth, field):
    create(auth, field)
    public_id, code = newest(app)
    answer = auth.client.get(f"/reports/{public_id}.pdf")
    assert answer.mimetype == "application/pdf"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    disposition = answer.headers["Content-Disposition"]
    assert disposition == f'attachment; filename="report-{code[:8]}-v1.pdf"'
    text = " ".join(PdfReader(BytesIO(answer.data)).pages[0].extract_text().split())
    assert PATIENT in text
    whole = "".join(page.extract_text() for page in PdfReader(BytesIO(answer.data)).pages)
    assert f"http://localhost/verify/{public_id}?h={code}" in "".join(whole.split())


def test_unknown_report_is_missing(auth):
    auth.enter()
    assert auth.client.get("/reports/nothing.pdf").status_code == 404


def test_public_address_of_the_settings_stands_in_the_code(make_app, auth):
    app = make_app(public_url="https://marrow.example.org", secure_cookies=False)
    person = type(auth)(app, app.test_client())
    person.enter()
    field = store_field(app, person.user_id)
    create(person, field)
    public_id, code = newest(app)
    pdf = person.client.get(f"/reports/{public_id}.pdf").data
    text = "".join("".join(page.extract_text().split()) for page in PdfReader(BytesIO(pdf)).pages)
    assert f"https://marrow.example.org/verify/{public_id}?h={code}" in text


# Verification ------------------------------------------------------------------------------------


def test_current_paper(app, auth, field):
    create(auth, field)
    public_id, code = newest(app)
    answer = app.test_client().get(f"/verify/{public_id}?h={code}")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "This paper is the current version" in page
    assert "not compared" not in page


def test_replaced_paper(app, auth, field):
    create(auth, field)
    public_id, code = newest(app)
    correct(app, auth)
    create(auth, field)
    page = app.test_client().get(f"/verify/{public_id}?h={code}").get_data(as_text=True)
    assert "This paper has been replaced" in page
    assert "Version 2" in page


def test_forged_paper(app, auth, field):
    create(auth, field)
    public_id, code = newest(app)
    forged = code[:-1] + ("0" if code[-1] != "0" else "1")
    answer = app.test_client().get(f"/verify/{public_id}?h={forged}")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "does not match our record" in page
    assert "Our record" not in page


def test_paper_without_a_code_is_not_compared(app, auth, field):
    create(auth, field)
    public_id, _ = newest(app)
    page = app.test_client().get(f"/verify/{public_id}").get_data(as_text=True)
    assert "the paper was not compared" in page
    assert "This paper is the current version" not in page


@pytest.mark.parametrize("identifier", ["nothing", "..%2f..%2fetc", "%00", "é" * 300])
def test_unknown_paper(client, identifier):
    answer = client.get(f"/verify/{identifier}?h=0123456789abcdef")
    assert answer.status_code == 404
    page = answer.get_data(as_text=True)
    assert "No report of this identifier" in page or "etc" in identifier


def test_strangers_learn_nothing_of_the_patient(app, auth, field):
    create(auth, field)
    public_id, code = newest(app)
    with app.app_context():
        version = db.session.scalars(db.select(ReportVersion)).one()
        person, content_sha256 = version.created_by.name, version.content_sha256
        case = version.case.public_id
    secrets = [
        *PATIENT.split(),
        "BM-2026-0142",
        "iliac",
        "Pancytopenia",
        "Particles",
        "Pattern resembling",
        person,
        content_sha256,
        field,
        case,
    ]
    for query in ("", f"?h={code}", "?h=0000000000000000"):
        answer = app.test_client().get(f"/verify/{public_id}{query}")
        page = answer.get_data(as_text=True) + str(answer.headers)
        for secret in secrets:
            assert secret not in page, secret


def test_verification_is_throttled(make_app):
    app = make_app(verifications_per_minute=3)
    client = app.test_client()
    statuses = [client.get("/verify/nothing").status_code for _ in range(5)]
    assert statuses == [404, 404, 404, 429, 429]


def test_verification_asks_for_no_cookie(app):
    answer = app.test_client().get("/verify/nothing")
    assert "Set-Cookie" not in answer.headers
