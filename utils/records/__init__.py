"""Records: what is kept, and how. Importing the package makes every record known."""

from utils.records.analyses import Analysis
from utils.records.audit import AuditEntry, AuditHead
from utils.records.cases import Case
from utils.records.cells import Cell, CellEvent
from utils.records.database import db
from utils.records.hand_counts import HandCount
from utils.records.jobs import Job
from utils.records.labels import LabelEvent
from utils.records.reports import ReportVersion
from utils.records.synthetic import SyntheticRun, SyntheticSample
from utils.records.tutoring import TutorConversation, TutorTurn
from utils.records.users import SignIn, User

__all__ = [
    "Analysis",
    "AuditEntry",
    "AuditHead",
    "Case",
    "Cell",
    "CellEvent",
    "HandCount",
    "Job",
    "LabelEvent",
    "ReportVersion",
    "SignIn",
    "SyntheticRun",
    "SyntheticSample",
    "TutorConversation",
    "TutorTurn",
    "User",
    "db",
]
