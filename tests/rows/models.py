from django.db import models


class Row(models.Model):
    text = models.CharField(max_length=100)
    number = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.text
