import pytest

from bottletop.core.addresses import masked


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://example.org/photos.zip", "https://example.org/photos.zip"),
        ("http://127.0.0.1:5000/a@b/photos.zip", "http://127.0.0.1:5000/a@b/photos.zip"),
        ("https://me:secret@example.org/photos.zip", "https://***@example.org/photos.zip"),
        ("https://token@example.org/", "https://***@example.org/"),
        ("postgresql://me:p/a?s:s@db/runs", "postgresql://***@db/runs"),
        ("mysql+pymysql://me:p@ss@db:3306/runs", "mysql+pymysql://***@db:3306/runs"),
        ("postgresql://db/runs?user=me&password=secret", "postgresql://db/runs?user=***&password=***"),
        (
            "https://b.s3.amazonaws.com/a.zip?X-Amz-Credential=AKIA/1&X-Amz-Signature=ab12",
            "https://b.s3.amazonaws.com/a.zip?X-Amz-Credential=***&X-Amz-Signature=***",
        ),
        ("https://example.org/?token=a#access_token=b", "https://example.org/?token=***#access_token=***"),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address, shown):
    assert masked(address) == shown


def test_addresses_within_a_message_are_masked_too():
    message = (
        "HTTPSConnectionPool(host='a', port=443): failed with url: /x.zip?token=abc (Caused by 'http://u:p@proxy/')"
    )
    assert masked(message) == (
        "HTTPSConnectionPool(host='a', port=443): failed with url: /x.zip?token=*** (Caused by 'http://***@proxy/')"
    )
