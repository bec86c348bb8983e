from tests.cases import case as case
from tests.cases import make_case as make_case
