"""Which metadata is an identifier, and that a running number takes its place."""

import pytest

from medr1.data.identifiers import is_identifier, replace_identifiers, running_numbers

IDENTIFIERS = """
patient patient_id PatientID patientName PatientBirthDate subject SubjectID participant MRN mrn
case case_id study StudyInstanceUID series SOPInstanceUID accession AccessionNumber
hospital_number scan ssn dob name StudyDate date_of_birth ReferringPhysicianName InstitutionName
email record-id
"""
DESCRIPTIONS = """
age patient_age PatientSex sex scanner Manufacturer ManufacturerModelName study_type site source
finding answer_class perturbation case_control region BodyPartExamined identity ideal 年齢 _
"""


@pytest.mark.parametrize("key", IDENTIFIERS.split())
def test_names_of_people_studies_and_dates(key):
    assert is_identifier(key)


@pytest.mark.parametrize("key", DESCRIPTIONS.split())
def test_what_only_describes_them(key):
    assert not is_identifier(key)


def test_numbers_are_those_of_the_order_and_sort():
    values = [f"p{n}" for n in (7, 3, 3, 9)] + [None] + [f"q{n}" for n in range(8)]
    numbers = running_numbers("patient", values)
    assert numbers["p7"] == "patient 01" and numbers["p3"] == "patient 02"
    assert list(numbers.values()) == sorted(numbers.values()) and len(numbers) == 11


def test_a_hidden_value_goes_wherever_it_stands():
    hidden = {"DOE^JANE": "patient 3", "777": "patient 4", "7": "patient 5"}
    assert replace_identifiers("a/doe^jane_1.png", hidden) == "a/patient 3_1.png"
    assert replace_identifiers("777-b, 17770, 7", hidden) == "patient 4-b, 17770, 7"
    assert (
        replace_identifiers("x", {"x": r"\1"}) == "x"
        and replace_identifiers("xxxx", {"xxxx": r"\1"}) == r"\1"
    )
