"""Words of series' and studies' names, as they are written in several languages.

Names are folded to capitals without accents. Words of scripts that put no blanks between them
(Japanese, Chinese) are looked for anywhere in a name.
"""

from __future__ import annotations

import re
import unicodedata

HEAD = frozenset(
    ("BRAIN", "HEAD", "SKULL", "CRANIAL", "CRANIUM", "CEREBRAL", "CEREBRUM", "NEURO", "KOPF",
     "SCHAEDEL", "SCHADEL", "ENCEPHALE", "CRANE", "NEUROCRANIUM", "HIRN", "CEREBRALE", "TETE",
     "CEREBRO", "CRANEO", "ENCEFALO", "CABEZA", "CRANIO", "TESTA", "CABECA", "HERSENEN", "HOOFD",
     "MOZG", "GLOWA", "ГОЛОВА", "МОЗГ", "頭", "脳", "头", "颅", "脑", "머리", "뇌")
)  # fmt: skip
"""The head or the brain."""
ELSEWHERE = frozenset(
    ("SPINE", "CSPINE", "TSPINE", "LSPINE", "CERVICAL", "THORACIC", "LUMBAR", "SACRUM", "HWS",
     "BWS", "LWS", "MYELON", "KNEE", "SHOULDER", "HIP", "ANKLE", "WRIST", "ELBOW", "FOOT", "HAND",
     "ABDOMEN", "PELVIS", "LIVER", "KIDNEY", "PROSTATE", "BREAST", "HEART", "CARDIAC", "CHEST",
     "NECK", "THYROID", "FETAL", "FETUS", "ORBIT", "ORBITS", "ORBITA", "SELLA", "PITUITARY", "IAC",
     "TMJ", "FACE", "SINUS", "KNIE", "SCHULTER", "BECKEN", "ABDOMINAL", "CORD",
     # German
     "WIRBELSAULE", "WIRBELSAEULE", "HUFTE", "HUEFTE", "SPRUNGGELENK", "HANDGELENK", "ELLENBOGEN",
     "LEBER", "HERZ", "MAMMA", "PROSTATA", "HALS", "ORBITAE", "HYPOPHYSE", "FELSENBEIN",
     "FELSENBEINE", "KIEFERGELENK", "NNH",
     # French
     "RACHIS", "GENOU", "EPAULE", "LOMBAIRE", "DORSOLOMBAIRE", "BASSIN", "HANCHE", "CHEVILLE",
     "POIGNET", "COUDE", "FOIE", "COEUR", "MOELLE", "ORBITES", "ROCHERS",
     # Spanish, Portuguese, Italian
     "COLUMNA", "RODILLA", "HOMBRO", "CADERA", "TOBILLO", "MUNECA", "HIGADO", "CORAZON", "ORBITAS",
     "HIPOFISIS", "CUELLO", "PENASCOS", "LUMBOSACRA", "COLUNA", "JOELHO", "OMBRO", "QUADRIL",
     "COLONNA", "RACHIDE", "GINOCCHIO", "SPALLA", "COLLO", "IPOFISI", "ORBITE", "ADDOME",
     # Dutch
     "WERVELKOLOM", "SCHOUDER", "HEUP",
     # Japanese, Chinese
     "頸椎", "胸椎", "腰椎", "脊椎", "脊髄", "膝", "肩", "股関節", "腹部", "骨盤", "骨盆", "肝",
     "心臓", "心脏", "乳房", "乳腺", "前立腺", "前列腺", "頸部", "颈部", "下垂体", "垂体", "眼窩",
     "眼眶", "内耳", "颈椎", "脊柱", "关节")
)  # fmt: skip
"""Other parts of the body, and parts of the head that are imaged alone."""
UNBORN = frozenset(("FETAL", "FETUS", "FOETAL", "FOETUS", "FETALE", "胎児", "胎儿"))
"""In a study's name, whatever else stands there: the brain is not that of the patient."""
LOCALISER = frozenset(
    ("LOCALIZER", "LOCALISER", "LOC", "SCOUT", "AAHEAD", "AAHSCOUT", "SURVEY", "CALIB",
     "CALIBRATION", "CAL", "ASSET", "REF", "REFSCAN", "PRESCAN", "SHIM", "PLANLOC", "SMARTBRAIN",
     "SENSEREF", "COILSURVEY", "LOCATOR", "PILOT", "TRIPLANAR", "3PLANE", "SCANO", "SCANOGRAM",
     "AUTOALIGN", "SETTER", "LOKALISER", "LOKALIZER", "LOKALISATOR", "LOKALISATION", "PLANUNG",
     "UBERSICHT", "UEBERSICHT", "REPERAGE", "REPERAGES", "LOCALISATEUR", "LOCALIZADOR",
     "LOCALIZADORES", "LOCALIZACION", "PLANIFICACION", "LOCALIZZATORE", "CENTRAGGIO",
     "位置決め", "定位")
)  # fmt: skip
"""Scans for planning and calibration."""
_AGENT = re.compile(
    r"\+\s*(C|GD|KM|INJ)\b|\bC\+|(?<![A-Z])(GD|GAD|GADO\w*|[MNP]?KM|POST(?![\W_]*OP)|POSTGD|CE|CONTRAST|"
    r"CONTRASTE|CONTRASTO|KONTRAST|KONTRASTMITTEL|POSTCONTRASTE|INJ|INJECTE|INJECTEE|INJECTION|"
    r"MDC|GADAVIST|DOTAREM|MAGNEVIST)(?![A-Z])|造影|增强"
)
_NO_AGENT = re.compile(
    r"(?<![A-Z])(W/?O|WITHOUT|NON|PRE|OHNE|NATIV\w*|SANS|SIN|SENZA|SEM|ZONDER|NO)(?![A-Z])"
    r"(?![\W_]*(OP|FS|FAT))|単純|平扫|造影前|非造影"
)
"""What denies an operation (``PRE-OP``) or the suppression of fat denies no agent."""
_T1 = re.compile(
    r"(?<![A-Z0-9])(3D|[SEV])?_?(T1(W|WI|WEIGHTED|3D)?|MPRAGE|MP-RAGE|MEMPRAGE|IR-?FSPGR|FSPGR|SPGR|BRAVO)"
    r"(?![A-Z0-9])"
)
_T2 = re.compile(r"(?<![A-Z0-9])(3D|[SEV])?_?T2(W|WI|WEIGHTED)?(?![A-Z0-9*])")
_FLAIR = re.compile(r"FLAIR|(?<![A-Z])DARK[ _-]?FLUID(?![A-Z])|(?<![A-Z])DA-FL(?![A-Z])")


def folded(text: str) -> str:
    """A name in capitals, without accents."""
    apart = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    bare = "".join(sign for sign in apart if not unicodedata.combining(sign))
    return unicodedata.normalize("NFC", bare).upper()


def words_of(text: str) -> frozenset[str]:
    """Words of letters and digits of a folded name: ``T2_TIRM_TRA*`` gives T2, TIRM, TRA."""
    return frozenset(re.findall(r"[^\W_]+", text))


def named(words: frozenset[str], known: frozenset[str]) -> frozenset[str]:
    """Which of the known words there are; those of scripts without blanks within others, too."""
    joined = "".join(word for word in words if not word.isascii())
    return (words & known) | frozenset(k for k in known if not k.isascii() and k in joined)


def names_agent(text: str) -> bool:
    """Whether a folded name says that a contrast agent was given."""
    return bool(_AGENT.search(text)) and not denies_agent(text)


def denies_agent(text: str) -> bool:
    """Whether a folded name says that none was given."""
    return bool(_NO_AGENT.search(text))


def named_contrast(text: str) -> str:
    """T1w, T2w or FLAIR where a folded name says one of them; empty where none or several."""
    first, second, flair = (rule.search(text) is not None for rule in (_T1, _T2, _FLAIR))
    if flair and not first:
        return "FLAIR"
    return {(True, False): "T1w", (False, True): "T2w"}.get((first, second), "")
