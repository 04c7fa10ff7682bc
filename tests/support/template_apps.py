"""Apps whose templates are looked at."""

from __future__ import annotations

from datetime import UTC, datetime

from taskq_sls import Queue, Schedule, TaskQ, cron, rate

AWKWARD = 'it\'s ${Prefix} "é" \x7f 😀 \\ \t'
"""Text that YAML, JSON and Sub each would read as something else."""


def full_app() -> TaskQ:
    """Every kind of queue, schedule and route."""
    app = TaskQ(
        "shop",
        queues=[
            Queue(
                "default",
                function_timeout=60,
                function_memory=2048,
                batch_size=100,
                batch_window=5,
                max_concurrency=7,
                max_receive_count=20,
            ),
            Queue(
                "images-slow",
                function_timeout=900,
                function_policy=[
                    {
                        "Effect": "Allow",
                        "Action": ["s3:GetObject", "s3:Put*"],
                        "Resource": "arn:${AWS::Partition}:s3:::pictures-${Stage}/${aws:PrincipalTag/team}/*",
                        "Condition": {"Bool": {"aws:SecureTransport": True}},
                    },
                    {"Sid": "Read", "Effect": "Allow", "Action": "rekognition:DetectLabels", "Resource": "*"},
                ],
                function_environment={"PICTURES": "pictures-${Stage}", "FORMAT": "${asctime} " + AWKWARD},
            ),
            Queue("ledger.fifo", function_timeout=30),
            Queue("elsewhere", visibility_timeout=45),
        ],
    )

    @app.on_event(source="aws.s3", detail_type="Object Created", arguments={"key": "detail.object.key"})
    @app.task(
        name="shop.tasks:resize",
        queue="images-slow",
        timeout=800,
        schedule=Schedule(rate(minutes=5), args=("a.png",), enabled=False),
    )
    def resize(key: str) -> None: ...

    @app.on_event(source=["shop.orders", "shop.returns"], detail_type="Order Placed", bus="orders")
    @app.task(
        name="shop.tasks:book",
        queue="ledger.fifo",
        group="book",
        timeout=20,
        schedule=cron(
            "0 12 ? * MON-FRI *",
            timezone="Europe/Berlin",
            start=datetime(2027, 1, 1, tzinfo=UTC),
            end=datetime(2028, 1, 1, tzinfo=UTC),
            window=15,
        ),
    )
    def book(order: str = AWKWARD) -> None: ...

    app.schedule(book, rate("1 day"), kwargs={"order": AWKWARD}, name="daily")
    return app
