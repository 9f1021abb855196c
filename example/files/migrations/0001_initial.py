# ruff: noqa: RUF012  # Django's migrations are lists
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="File",
            fields=[
                ("path_sha256", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("path", models.TextField(db_collation="utf8mb4_bin")),
                ("size", models.PositiveBigIntegerField(db_index=True, help_text="bytes")),
                (
                    "lines",
                    models.PositiveBigIntegerField(
                        help_text="newline bytes, in binary files too",
                    ),
                ),
                ("sha256", models.CharField(max_length=64)),
                ("indexed_at", models.DateTimeField(auto_now=True)),
            ],
        ),
    ]
