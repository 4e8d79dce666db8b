"""Ten grey frames of 32 x 32 pixels, brighter by 20 each, as an mp4 of H.264 (zlib, base 85).

Written by libx264 out of numpy arrays: nobody's footage.
"""

H264 = (
    'c-nncZD<@t7@kXNy+*NOKj@FdPSS6iyX<b#YZ|)P%TaO#1yTBeD9h~5Y<9W*%Iw_bE)k3p#46|yQ6W_-'
    'mKKGIRG|g2RJ8c3e*~2V{E;a5fl~E{Sk&}<=RVB!YC7z@^UlokKJUEmJF|-r!nUYHZXEgubs*V;XryGR'
    'el(;agpxLA453vCpArF>w^rX#t-kTi!JjUEKcBzwTK`o%zvbGmWi2y=Q`ibQ!)j&^sQENZ4LtnF!Lig3'
    '&K}9Z8f6wN<ie=pF<W3wQ3g|*qDizPL^LumFgZDyF1eJ29tqMRA0LpsX-D`TV8TeaVGxgCi<rdHRm_>K'
    '4`RwpFSH7}I--mym;}VD#7tMpgCj~=RR^)pbcdC3Tr@%3i=(&#rtmg6)z!2DM)1PETV~Xdj4D_doCM=c'
    'S2Nghc<2)YOjRs6^E@{OZMZy4Edh!(;p+-)fzYWiV7jLEt17lhEQ}~FxRFHE2__;VwC$J)J*8pcaIla>'
    'UKkdL0|R4uF7{lDEl(&o;58qX>k}dO;Rb?nj{pefO|QsF#jrv@A_B%1q)2e$20#HoP9(<W#Ah)i%QT`2'
    '=q}YY&<Q1xjKVZbmq<_4<*XLhBy-0dVS*M$EHK8y2v+Np5ttTO1-Nx>kJ3;L-wkBCVv7aLDhho_!8PwP'
    'rJThMm~+ecFI>6KE#2Za_D#sE3=0Oj3dO(^G8kP+XF!c4ajhq1J+lv#Sg=SR!fpgbf&&3H1THcG^_SH|'
    'GjL`%u;*vd?&^&{zr1kegKKy8oxkh32TxUDp(i`n>y2Le_VwzTqrbg>!})OO$=~;0>6=_LcJ<u4PXN%H'
    'og3ZX`^v7_-PN;i7ykL;=;#CIr_a3b(YjUd?D)DmZD#iYs4qKb9a>zw{jrV>E1-q}wK+RC+eCertDc-X'
    'x$x9yAFur?pPN1P%dz8&b;#*<$g9OmhkNh2@8xsmj%NUJe|GNkHpuje&OaW#cX8+68~ZAC#1HKVd#n|)'
    'IeQ}6?&hVXr<-nO>X2RSkWYK6&CM<#)OpMg!xBI}zvNJKQ|tT@J`58mf#kE?5;vpT#|O}DTL(PP!U-yX'
    '{)8yhe0JW-27b}){rs<A+z^DeGAd%|yO|e@WedrhY}h9L@~KOtg-_dKmux%H;mfr_%Ap=_uE-BrEAoi^'
    'u;ocWJti@U({QwHP}Z0H8foh`x6=ArH--Dt62{#{?%}$gV6iYg(BF$iOj|H-%CGkdsgOZql!rdQBBH%*'
    's>-V~2&}mTMP1cJv~e8zv-5|X1F|IWN_Jj8&Sny5we#~ruK&fQ>(`~>dbrt*jB4{uvRKrz-E`drzm^&n'
    'f@qzWvdOvyo0NJtV68T6SEJt#Yf~+ohxv|+@?wK*1KAF;r6GL{X^vqJR@lO;fS5%pWaS_CS*@3?x3$V}'
    'GB}AMuQg*Sw|<niy(>aV*aN>#(#-Wkq-1Bbv<i=+{R^qg=ot'
)
